// The functions of distances and angles that CHGNet begins with, and what their gradients mean for the atoms.

#pragma once

#include "layers.hpp"

namespace fuse2 {

constexpr double PI = 3.14159265358979323846;
constexpr double COSINE_LIMIT = 1.0 - 1e-6; // of the published model, which keeps arccos differentiable

// Sines and cosines of frequency * x; the reduction is in double precision.
inline void sines_cosines(const double* frequencies, double x, float* sines, float* cosines) {
    alignas(ALIGNMENT) float rest[BASIS];
    alignas(ALIGNMENT) std::int32_t quarter[BASIS];
    for (int k = 0; k < BASIS; ++k) {
        const double argument = frequencies[k] * x;
        const double n = std::rint(argument * (2.0 / PI));
        rest[k] = float(argument - n * (PI / 2.0));
        quarter[k] = std::int32_t(n);
    }
    for (int k = 0; k < BASIS; k += LANES) {
        vfloat s, c;
        sine_cosine(load(rest + k), *reinterpret_cast<const vint*>(quarter + k), s, c);
        store(sines + k, s);
        store(cosines + k, c);
    }
}

// Spherical Bessel functions j0 with a polynomial that takes them smoothly to zero at a cutoff.
struct RadialBasis {
    double cutoff = 0.0;
    int power = 0, size = 0;
    double frequencies[BASIS] = {};

    void read(Weights& weights, int n, int cutoff_power, double r) {
        cutoff = r;
        power = cutoff_power;
        size = n;
        const float* f = weights.take(BASIS);
        for (int k = 0; k < BASIS; ++k) frequencies[k] = f[k];
    }

    // Values and derivatives by the distance, BASIS each.
    void expand(double distance, float* values, float* derivatives) const {
        const double x = distance / cutoff, p = power;
        const double xp = x < 1.0 ? std::pow(x, p - 1.0) : 0.0; // x^(p - 1)
        const double a = -(p + 1.0) * (p + 2.0) / 2.0, b = p * (p + 2.0), c = -p * (p + 1.0) / 2.0;
        const double smooth = x < 1.0 ? 1.0 + xp * x * (a + x * (b + x * c)) : 0.0;
        const double slope = xp * (a * p + x * (b * (p + 1.0) + x * c * (p + 2.0))) / cutoff;
        const double scale = std::sqrt(2.0 / cutoff) / distance;
        alignas(ALIGNMENT) float sines[BASIS], cosines[BASIS];
        sines_cosines(frequencies, x, sines, cosines);
        const float factor = float(scale * smooth), of_sine = float(scale * (slope - smooth / distance));
        for (int k = 0; k < size; ++k) {
            values[k] = factor * sines[k];
            derivatives[k] = of_sine * sines[k] + factor * float(frequencies[k] / cutoff) * cosines[k];
        }
        for (int k = size; k < BASIS; ++k) values[k] = derivatives[k] = 0.0f;
    }
};

// Fourier series of an angle: a constant, then sines, then cosines.
struct AngularBasis {
    int order = 0;
    double frequencies[BASIS] = {};

    void read(Weights& weights, int n) {
        order = (n - 1) / 2;
        const float* f = weights.take(BASIS);
        for (int k = 0; k < BASIS; ++k) frequencies[k] = f[k];
    }

    void expand(double angle, float* values, float* derivatives) const {
        alignas(ALIGNMENT) float sines[BASIS], cosines[BASIS];
        sines_cosines(frequencies, angle, sines, cosines);
        const float scale = float(1.0 / std::sqrt(PI));
        for (int k = 0; k < BASIS; ++k) values[k] = derivatives[k] = 0.0f;
        values[0] = float(std::sqrt(0.5)) * scale;
        for (int k = 0; k < order; ++k) {
            const float f = float(frequencies[k]) * scale;
            values[1 + k] = scale * sines[k];
            values[1 + order + k] = scale * cosines[k];
            derivatives[1 + k] = f * cosines[k];
            derivatives[1 + order + k] = -f * sines[k];
        }
    }
};

inline double dot_rows(const float* a, const float* b) {
    vfloat total = {};
    for (int k = 0; k < BASIS; k += LANES) total += load(a + k) * load(b + k);
    return double(sum(total));
}

struct Basis {
    Buffer radial, short_radial, angular; // values for the bonds, the short bonds, the pairs of short bonds

    void read(Weights& weights, int n_radial, int n_angular, int power, double bond_cutoff, double angle_cutoff) {
        bond_.read(weights, n_radial, power, bond_cutoff);
        short_.read(weights, n_radial, power, angle_cutoff);
        angle_.read(weights, n_angular);
    }

    void expand(const Graph& graph) {
        const std::size_t m = graph.bonds.size(), k = graph.n_short, p = graph.pairs.size();
        radial.get(m * BASIS);
        dradial_.get(m * BASIS);
        short_radial.get(k * BASIS);
        dshort_.get(k * BASIS);
        angular.get(p * BASIS);
        dangular_.get(p * BASIS);
        cosines_.resize(p);
        for (std::size_t u = 0; u < m; ++u)
            bond_.expand(graph.bonds[u].distance, radial.data() + u * BASIS, dradial_.data() + u * BASIS);
        for (std::size_t u = 0; u < k; ++u)
            short_.expand(graph.bonds[u].distance, short_radial.data() + u * BASIS, dshort_.data() + u * BASIS);
        for (std::size_t q = 0; q < p; ++q) {
            cosines_[q] = COSINE_LIMIT * cosine(graph, graph.pairs[q]);
            const double angle = std::acos(std::min(1.0, std::max(-1.0, cosines_[q])));
            angle_.expand(angle, angular.data() + q * BASIS, dangular_.data() + q * BASIS);
        }
    }

    // Forces (n x 3) and the derivative by the strain (3 x 3) from the gradients by the basis functions.
    void contract(const Graph& graph, const float* gradial, const float* gshort, const float* gangular, double* forces,
                  double* virial) {
        std::vector<double>& slopes = slopes_; // derivative of the energy by the vector of each bond, times its end
        slopes.assign(3 * graph.bonds.size(), 0.0);
        for (std::size_t u = 0; u < graph.bonds.size(); ++u) {
            const Bond& bond = graph.bonds[u];
            double slope = dot_rows(gradial + u * BASIS, dradial_.data() + u * BASIS);
            if (int(u) < graph.n_short) slope += dot_rows(gshort + u * BASIS, dshort_.data() + u * BASIS);
            for (int c = 0; c < 3; ++c) slopes[3 * u + c] = slope * bond.vector[c] / bond.distance;
        }
        for (std::size_t q = 0; q < graph.pairs.size(); ++q) add_angle(graph, q, gangular, slopes);
        for (int i = 0; i < 3 * graph.n_atoms; ++i) forces[i] = 0.0;
        for (int i = 0; i < 9; ++i) virial[i] = 0.0;
        for (std::size_t u = 0; u < graph.bonds.size(); ++u) {
            const Bond& bond = graph.bonds[u];
            for (int c = 0; c < 3; ++c) {
                forces[3 * bond.i + c] -= slopes[3 * u + c];
                forces[3 * bond.j + c] += slopes[3 * u + c];
                for (int d = 0; d < 3; ++d) virial[3 * c + d] += bond.vector[c] * slopes[3 * u + d];
            }
        }
    }

  private:
    static double cosine(const Graph& graph, const Pair& pair) {
        const Directed &one = graph.directed[pair.first], &two = graph.directed[pair.second];
        const Bond &a = graph.bonds[one.bond], &b = graph.bonds[two.bond];
        const double dot = a.vector[0] * b.vector[0] + a.vector[1] * b.vector[1] + a.vector[2] * b.vector[2];
        return one.sign * two.sign * dot / (a.distance * b.distance);
    }

    void add_angle(const Graph& graph, std::size_t q, const float* gangular, std::vector<double>& slopes) const {
        const Directed &one = graph.directed[graph.pairs[q].first], &two = graph.directed[graph.pairs[q].second];
        const Bond &a = graph.bonds[one.bond], &b = graph.bonds[two.bond];
        const double limited = cosines_[q], plain = limited / COSINE_LIMIT;
        const double by_angle = dot_rows(gangular + q * BASIS, dangular_.data() + q * BASIS);
        const double by_cosine = -by_angle * COSINE_LIMIT / std::sqrt(1.0 - limited * limited);
        for (int c = 0; c < 3; ++c) {
            const double ua = one.sign * a.vector[c] / a.distance, ub = two.sign * b.vector[c] / b.distance;
            slopes[3 * one.bond + c] += one.sign * by_cosine * (ub - plain * ua) / a.distance;
            slopes[3 * two.bond + c] += two.sign * by_cosine * (ua - plain * ub) / b.distance;
        }
    }

    RadialBasis bond_, short_;
    AngularBasis angle_;
    Buffer dradial_, dshort_, dangular_;
    std::vector<double> cosines_, slopes_;
};

} // namespace fuse2
