// Bonds and angles of a crystal: the graph on which CHGNet passes messages.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace fuse2 {

// What the features of a structure may take, bytes: so much, or what as many atoms of diamond would.
constexpr double MAX_BYTES = 1e9;
constexpr double BYTES_PER_BOND = 14e3, BYTES_PER_ANGLE = 5.3e3; // as measured
constexpr double BYTES_PER_ATOM = 85 * BYTES_PER_BOND + 800 * BYTES_PER_ANGLE;
constexpr double MAX_IMAGES = 200.0; // cells along one axis within the cutoff

enum Status { OK = 0, ISOLATED_ATOM = 1, TOO_DENSE = 2, BAD_CELL = 3, NOT_FINITE = 4, NO_MEMORY = 5 };

// An undirected bond: from its centre i to an image of j.
struct Bond {
    std::int32_t i, j;
    double distance;  // Å
    double vector[3]; // from the image of j to i, Å
};

// One end of a bond, as seen from the atom `centre`.
struct Directed {
    std::int32_t centre, neighbour, bond;
    double sign; // of the bond's vector
};

// An ordered pair of different short bonds at one atom.
struct Angle {
    std::int32_t centre, first, second; // first and second: undirected, both short
    std::int32_t pair;                  // the unordered pair
};

// An unordered pair of short bonds at one atom, by index of the directed bonds.
struct Pair {
    std::int32_t first, second;
};

struct Graph {
    int n_atoms = 0;
    int n_short = 0;                 // bonds shorter than the cutoff of angles; they come first
    std::vector<Bond> bonds;
    std::vector<Directed> directed;  // by centre
    std::vector<std::int32_t> start; // of the directed bonds of each atom; one more at the end
    std::vector<Angle> angles;       // by centre, then by first bond
    std::vector<Pair> pairs;

    Status build(int n, const double* positions, const double* cell, double bond_cutoff, double angle_cutoff) {
        n_atoms = n;
        max_bytes_ = std::max(MAX_BYTES, BYTES_PER_ATOM * n);
        bonds.clear();
        const Status status = find_bonds(positions, cell, bond_cutoff);
        if (status != OK) return status;
        const auto is_short = [angle_cutoff](const Bond& b) { return b.distance < angle_cutoff; };
        n_short = int(std::stable_partition(bonds.begin(), bonds.end(), is_short) - bonds.begin());
        direct();
        for (int i = 0; i < n; ++i)
            if (start[i] == start[i + 1]) return ISOLATED_ATOM;
        return find_angles();
    }

  private:
    double max_bytes_ = 0.0;

    bool is_too_large(std::size_t n_angles) const {
        return BYTES_PER_BOND * double(bonds.size()) + BYTES_PER_ANGLE * double(n_angles) > max_bytes_;
    }

    // Every pair of an atom and an image of another, or of itself, once.
    Status find_bonds(const double* positions, const double* cell, double cutoff) {
        double inverse[9];
        const double volume = invert(cell, inverse);
        if (!(std::fabs(volume) > 1e-6)) return BAD_CELL;
        double reach[3]; // cutoff over the distance of opposite faces
        for (int k = 0; k < 3; ++k) {
            reach[k] = cutoff * std::sqrt(inverse[k] * inverse[k] + inverse[3 + k] * inverse[3 + k] +
                                          inverse[6 + k] * inverse[6 + k]);
            if (!(reach[k] < MAX_IMAGES)) return BAD_CELL;
        }
        for (int i = 0; i < n_atoms; ++i)
            for (int j = i; j < n_atoms; ++j) {
                add_images(i, j, positions, cell, inverse, reach, cutoff);
                if (is_too_large(0)) return TOO_DENSE;
            }
        return OK;
    }

    void add_images(int i, int j, const double* positions, const double* cell, const double* inverse,
                    const double* reach, double cutoff) {
        double between[3], fraction[3]; // from j in the home cell to i
        for (int k = 0; k < 3; ++k) between[k] = positions[3 * i + k] - positions[3 * j + k];
        int low[3], high[3];
        for (int k = 0; k < 3; ++k) {
            fraction[k] = between[0] * inverse[k] + between[1] * inverse[3 + k] + between[2] * inverse[6 + k];
            low[k] = int(std::ceil(fraction[k] - reach[k]));
            high[k] = int(std::floor(fraction[k] + reach[k]));
        }
        const double cutoff2 = cutoff * cutoff;
        for (int a = low[0]; a <= high[0] && !is_too_large(0); ++a)
            for (int b = low[1]; b <= high[1]; ++b)
                for (int c = low[2]; c <= high[2]; ++c) {
                    if (i == j && !(a > 0 || (a == 0 && (b > 0 || (b == 0 && c > 0))))) continue;
                    double v[3], d2 = 0.0;
                    for (int k = 0; k < 3; ++k) {
                        v[k] = between[k] - a * cell[k] - b * cell[3 + k] - c * cell[6 + k];
                        d2 += v[k] * v[k];
                    }
                    if (d2 < cutoff2) bonds.push_back({i, j, std::sqrt(d2), {v[0], v[1], v[2]}});
                }
    }

    void direct() {
        start.assign(n_atoms + 1, 0);
        for (const Bond& b : bonds) {
            ++start[b.i + 1];
            ++start[b.j + 1];
        }
        for (int i = 0; i < n_atoms; ++i) start[i + 1] += start[i];
        std::vector<std::int32_t> next(start.begin(), start.end() - 1);
        directed.resize(2 * bonds.size());
        for (std::size_t u = 0; u < bonds.size(); ++u) { // in this order the short ones of each atom come first
            const Bond& b = bonds[u];
            directed[next[b.i]++] = {b.i, b.j, std::int32_t(u), 1.0};
            directed[next[b.j]++] = {b.j, b.i, std::int32_t(u), -1.0};
        }
    }

    Status find_angles() {
        angles.clear();
        pairs.clear();
        for (int i = 0; i < n_atoms; ++i) {
            const int first = start[i];
            int k = 0;
            while (first + k < start[i + 1] && directed[first + k].bond < n_short) ++k;
            if (is_too_large(angles.size() + std::size_t(k) * k)) return TOO_DENSE;
            const int base = int(pairs.size());
            for (int a = 0; a < k; ++a)
                for (int b = a + 1; b < k; ++b) pairs.push_back({first + a, first + b});
            for (int a = 0; a < k; ++a)
                for (int b = 0; b < k; ++b) {
                    if (a == b) continue;
                    const int p = std::min(a, b), q = std::max(a, b);
                    const int pair = base + p * (2 * k - p - 1) / 2 + (q - p - 1);
                    angles.push_back({i, directed[first + a].bond, directed[first + b].bond, pair});
                }
        }
        return OK;
    }

    // Columns of `inverse` are the reciprocal vectors; returns the volume.
    static double invert(const double* m, double* inverse) {
        const double c0 = m[4] * m[8] - m[5] * m[7], c1 = m[5] * m[6] - m[3] * m[8], c2 = m[3] * m[7] - m[4] * m[6];
        const double volume = m[0] * c0 + m[1] * c1 + m[2] * c2;
        const double f = 1.0 / volume;
        inverse[0] = c0 * f;
        inverse[1] = (m[2] * m[7] - m[1] * m[8]) * f;
        inverse[2] = (m[1] * m[5] - m[2] * m[4]) * f;
        inverse[3] = c1 * f;
        inverse[4] = (m[0] * m[8] - m[2] * m[6]) * f;
        inverse[5] = (m[2] * m[3] - m[0] * m[5]) * f;
        inverse[6] = c2 * f;
        inverse[7] = (m[1] * m[6] - m[0] * m[7]) * f;
        inverse[8] = (m[0] * m[4] - m[1] * m[3]) * f;
        return volume;
    }
};

} // namespace fuse2
