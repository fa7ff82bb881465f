// The three kinds of layers that pass messages: to atoms, to bonds, to angles.

#pragma once

#include "layers.hpp"

namespace fuse2 {

// The basis of an angle is projected at once on its features and on its part of the first maps of both first layers.
constexpr int PROJECTION = D + 2 * G;
constexpr int FEATURES = 0, CONVOLUTION = D, UPDATE = D + G; // where each begins

// Messages along bonds to atoms.
struct AtomConvolution {
    Matrix atoms;  // D x 2G: as centre, as neighbour
    Matrix bonds;  // D x G
    Vector bias;   // G
    SecondMap second;
    Matrix out;    // D x D
    Vector out_bias;

    void read(Weights& weights, bool norm) {
        atoms.read(weights, D, 2 * G);
        bonds.read(weights, D, G);
        bias.read(weights, G);
        second.read(weights, norm);
        out.read(weights, D, D);
        out_bias.read(weights, D);
    }

    // Adds to the features x of atoms (n x D), from those of bonds and the weights w of messages.
    void forward(const Graph& graph, float* x, const float* b, const float* w, Kept& kept, Gradients& scratch) const {
        const int n = graph.n_atoms, m = int(graph.bonds.size()), n_rows = int(graph.directed.size());
        float* from_atoms = kept.atoms.get(std::size_t(n) * 2 * G);
        float* from_bonds = kept.bonds.get(std::size_t(m) * G);
        atoms.apply(n, x, D, from_atoms, 2 * G);
        for (int i = 0; i < n; ++i) add_row(from_atoms + std::size_t(i) * 2 * G, bias.data(), G);
        bonds.apply(m, b, D, from_bonds, G);
        float* rows = kept.rows.get(std::size_t(n_rows) * G);
        float* inverses = kept.inverses.get(std::size_t(n_rows) * 2);
        float* sums = scratch.sum.zeros(std::size_t(n) * D);
        alignas(ALIGNMENT) float z[TILE * G], message[TILE * D];
        for (int t = 0; t < n_rows; t += TILE) {
            const int size = std::min(TILE, n_rows - t);
            const Directed* tile = graph.directed.data() + t;
            gather(size, tile, from_atoms, from_bonds, z);
            second.forward(size, z, rows + std::size_t(t) * G, inverses + std::size_t(t) * 2, message);
            for (int i = 0; i < size; ++i) {
                float* to = sums + std::size_t(tile[i].centre) * D;
                const float* weight = w + std::size_t(tile[i].bond) * D;
                for (int j = 0; j < D; j += LANES)
                    store(to + j, load(to + j) + load(message + i * D + j) * load(weight + j));
            }
        }
        out.apply(n, sums, D, x, D, true);
        for (int i = 0; i < n; ++i) add_row(x + std::size_t(i) * D, out_bias.data(), D);
    }

    // g.atoms: by the features after, becomes that by those before; adds to g.bonds and g.bond_weights.
    void backward(const Graph& graph, const float* w, const Kept& kept, Gradients& g) const {
        const int n = graph.n_atoms, m = int(graph.bonds.size()), n_rows = int(graph.directed.size());
        float* dsums = g.sum.get(std::size_t(n) * D);
        out.apply_transposed(n, g.atoms.data(), D, dsums, D);
        float* datoms = g.first_atoms.zeros(std::size_t(n) * 2 * G);
        float* dbonds = g.first_bonds.zeros(std::size_t(m) * G);
        alignas(ALIGNMENT) float z[TILE * G], dmessage[TILE * D], message[TILE * D];
        for (int t = 0; t < n_rows; t += TILE) {
            const int size = std::min(TILE, n_rows - t);
            const Directed* tile = graph.directed.data() + t;
            gather(size, tile, kept.atoms.data(), kept.bonds.data(), z);
            for (int i = 0; i < size; ++i)
                for (int j = 0; j < D; j += LANES)
                    store(dmessage + i * D + j, load(dsums + std::size_t(tile[i].centre) * D + j) *
                                                    load(w + std::size_t(tile[i].bond) * D + j));
            second.backward(size, z, kept.rows.data() + std::size_t(t) * G,
                            kept.inverses.data() + std::size_t(t) * 2, dmessage, message);
            for (int i = 0; i < size; ++i) scatter(tile[i], z + i * G, message + i * D, dsums, datoms, dbonds, g);
        }
        atoms.apply_transposed(n, datoms, 2 * G, g.atoms.data(), D, true);
        bonds.apply_transposed(m, dbonds, G, g.bonds.data(), D, true);
    }

  private:
    static void gather(int size, const Directed* tile, const float* from_atoms, const float* from_bonds, float* z) {
        for (int i = 0; i < size; ++i) {
            const float* centre = from_atoms + std::size_t(tile[i].centre) * 2 * G;
            const float* neighbour = from_atoms + std::size_t(tile[i].neighbour) * 2 * G + G;
            const float* bond = from_bonds + std::size_t(tile[i].bond) * G;
            for (int j = 0; j < G; j += LANES)
                store(z + i * G + j, load(centre + j) + load(neighbour + j) + load(bond + j));
        }
    }

    static void scatter(const Directed& row, const float* dz, const float* message, const float* dsums, float* datoms,
                        float* dbonds, Gradients& g) {
        add_row(datoms + std::size_t(row.centre) * 2 * G, dz, G);
        add_row(datoms + std::size_t(row.neighbour) * 2 * G + G, dz, G);
        add_row(dbonds + std::size_t(row.bond) * G, dz, G);
        float* dweight = g.bond_weights.data() + std::size_t(row.bond) * D;
        const float* dsum = dsums + std::size_t(row.centre) * D;
        for (int j = 0; j < D; j += LANES) add_to(dweight + j, load(message + j) * load(dsum + j));
    }
};

// What the layers over angles share: the first map of a gated MLP of centre, first bond, second bond and angle.
struct AngleMap {
    Matrix atoms;  // D x G
    Matrix bonds;  // D x 2G: as first, as second bond
    Matrix angles; // D x G; not there in the first layers, whose part is in the projection of the basis
    Vector bias;   // G
    bool is_first = false;
    int part = 0;  // of the projection, in the first layers

    void read(Weights& weights, bool first, int own_part) {
        is_first = first;
        part = own_part;
        atoms.read(weights, D, G);
        bonds.read(weights, D, 2 * G);
        if (!is_first) angles.read(weights, D, G);
        bias.read(weights, G);
    }

    void apply(const Graph& graph, const float* x, const float* b, Kept& kept) const {
        const int n = graph.n_atoms, m = graph.n_short;
        float* from_atoms = kept.atoms.get(std::size_t(n) * G);
        fill_rows(from_atoms, n, G, bias.data());
        atoms.apply(n, x, D, from_atoms, G, true);
        bonds.apply(m, b, D, kept.bonds.get(std::size_t(m) * 2 * G), 2 * G);
    }

    // z of some angles; `pairs`: projection of the basis, for the first layers.
    void gather(int size, const Angle* tile, const Kept& kept, const float* pairs, float* z) const {
        for (int i = 0; i < size; ++i) {
            const float* centre = kept.atoms.data() + std::size_t(tile[i].centre) * G;
            const float* first = kept.bonds.data() + std::size_t(tile[i].first) * 2 * G;
            const float* second = kept.bonds.data() + std::size_t(tile[i].second) * 2 * G + G;
            for (int j = 0; j < G; j += LANES)
                store(z + i * G + j, load(centre + j) + load(first + j) + load(second + j));
            if (is_first) add_row(z + i * G, pairs + std::size_t(tile[i].pair) * PROJECTION + part, G);
        }
    }

    void begin_backward(const Graph& graph, Gradients& g) const {
        g.first_atoms.zeros(std::size_t(graph.n_atoms) * G);
        g.first_bonds.zeros(std::size_t(graph.n_short) * 2 * G);
    }

    // Adds the gradient by z to those by its parts.
    void scatter(int size, const Angle* tile, const float* dz, Gradients& g, float* dangles, bool accumulate) const {
        for (int i = 0; i < size; ++i) {
            add_row(g.first_atoms.data() + std::size_t(tile[i].centre) * G, dz + i * G, G);
            add_row(g.first_bonds.data() + std::size_t(tile[i].first) * 2 * G, dz + i * G, G);
            add_row(g.first_bonds.data() + std::size_t(tile[i].second) * 2 * G + G, dz + i * G, G);
            if (is_first) add_row(g.pairs.data() + std::size_t(tile[i].pair) * PROJECTION + part, dz + i * G, G);
        }
        if (!is_first) angles.apply_transposed(size, dz, G, dangles, D, accumulate);
    }

    void end_backward(const Graph& graph, Gradients& g) const {
        atoms.apply_transposed(graph.n_atoms, g.first_atoms.data(), G, g.atoms.data(), D, true);
        bonds.apply_transposed(graph.n_short, g.first_bonds.data(), 2 * G, g.bonds.data(), D, true);
    }
};

// Messages through angles to short bonds.
struct BondConvolution {
    AngleMap first;
    SecondMap second;
    Matrix out;
    Vector out_bias;

    void read(Weights& weights, bool norm, bool is_first) {
        first.read(weights, is_first, CONVOLUTION);
        second.read(weights, norm);
        out.read(weights, D, D);
        out_bias.read(weights, D);
    }

    // Adds to the features b of bonds; a: of angles (not in the first layer); w: weights of short bonds.
    void forward(const Graph& graph, const float* x, float* b, const float* a, const float* pairs, const float* w,
                 Kept& kept, Gradients& scratch) const {
        const std::size_t n_rows = graph.angles.size();
        first.apply(graph, x, b, kept);
        float* rows = kept.rows.get(n_rows * G);
        float* inverses = kept.inverses.get(n_rows * 2);
        float* before = first.is_first ? nullptr : kept.first.get(n_rows * G);
        float* sums = scratch.sum.zeros(std::size_t(graph.n_short) * D);
        alignas(ALIGNMENT) float z[TILE * G], message[TILE * D];
        for (std::size_t t = 0; t < n_rows; t += TILE) {
            const int size = int(std::min(std::size_t(TILE), n_rows - t));
            const Angle* tile = graph.angles.data() + t;
            first.gather(size, tile, kept, pairs, z);
            if (before) {
                first.angles.apply(size, a + t * D, D, z, G, true);
                std::memcpy(before + t * G, z, sizeof(float) * size * G);
            }
            second.forward(size, z, rows + t * G, inverses + t * 2, message);
            for (int i = 0; i < size; ++i) {
                float* to = sums + std::size_t(tile[i].first) * D;
                const float* w1 = w + std::size_t(tile[i].first) * D;
                const float* w2 = w + std::size_t(tile[i].second) * D;
                for (int j = 0; j < D; j += LANES)
                    add_to(to + j, load(message + i * D + j) * load(w1 + j) * load(w2 + j));
            }
        }
        out.apply(graph.n_short, sums, D, b, D, true);
        for (std::size_t i = 0; i < graph.bonds.size(); ++i) add_row(b + i * D, out_bias.data(), D);
    }

    // g.bonds: by the features after, becomes that by those before; adds to g.atoms, g.angles or g.pairs, and
    // g.short_weights. `accumulate`: whether g.angles holds a gradient already.
    void backward(const Graph& graph, const float* pairs, const float* w, const Kept& kept, Gradients& g,
                  bool accumulate) const {
        const std::size_t n_rows = graph.angles.size();
        float* dsums = g.sum.get(std::size_t(graph.n_short) * D);
        out.apply_transposed(graph.n_short, g.bonds.data(), D, dsums, D);
        first.begin_backward(graph, g);
        alignas(ALIGNMENT) float z[TILE * G], dmessage[TILE * D], message[TILE * D];
        for (std::size_t t = 0; t < n_rows; t += TILE) {
            const int size = int(std::min(std::size_t(TILE), n_rows - t));
            const Angle* tile = graph.angles.data() + t;
            if (first.is_first)
                first.gather(size, tile, kept, pairs, z);
            else
                std::memcpy(z, kept.first.data() + t * G, sizeof(float) * size * G);
            for (int i = 0; i < size; ++i)
                for (int j = 0; j < D; j += LANES)
                    store(dmessage + i * D + j, load(dsums + std::size_t(tile[i].first) * D + j) *
                                                    load(w + std::size_t(tile[i].first) * D + j) *
                                                    load(w + std::size_t(tile[i].second) * D + j));
            second.backward(size, z, kept.rows.data() + t * G, kept.inverses.data() + t * 2, dmessage, message);
            for (int i = 0; i < size; ++i) weigh_backward(tile[i], message + i * D, dsums, w, g.short_weights.data());
            first.scatter(size, tile, z, g, first.is_first ? nullptr : g.angles.data() + t * D, accumulate);
        }
        first.end_backward(graph, g);
    }

  private:
    static void weigh_backward(const Angle& row, const float* message, const float* dsums, const float* w,
                               float* dweights) {
        const std::size_t one = std::size_t(row.first) * D, two = std::size_t(row.second) * D;
        for (int j = 0; j < D; j += LANES) {
            const vfloat d = load(dsums + one + j) * load(message + j);
            add_to(dweights + one + j, d * load(w + two + j));
            add_to(dweights + two + j, d * load(w + one + j));
        }
    }
};

// New features of angles.
struct AngleUpdate {
    AngleMap first;
    Gate end;

    void read(Weights& weights, bool norm, bool is_first) {
        first.read(weights, is_first, UPDATE);
        end.read(weights, norm);
    }

    // a: features of angles after; before them too, but for the first layer, where they are those of the pairs.
    void forward(const Graph& graph, const float* x, const float* b, float* a, const float* pairs, Kept& kept) const {
        const std::size_t n_rows = graph.angles.size();
        first.apply(graph, x, b, kept);
        float* rows = kept.rows.get(n_rows * G);
        float* inverses = kept.inverses.get(n_rows * 2);
        alignas(ALIGNMENT) float change[TILE * D];
        for (std::size_t t = 0; t < n_rows; t += TILE) {
            const int size = int(std::min(std::size_t(TILE), n_rows - t));
            const Angle* tile = graph.angles.data() + t;
            first.gather(size, tile, kept, pairs, rows + t * G);
            if (!first.is_first) first.angles.apply(size, a + t * D, D, rows + t * G, G, true);
            end.forward(size, rows + t * G, inverses + t * 2, change);
            for (int i = 0; i < size; ++i) {
                float* to = a + (t + i) * D;
                const float* before = first.is_first ? pairs + std::size_t(tile[i].pair) * PROJECTION + FEATURES : to;
                for (int j = 0; j < D; j += LANES) store(to + j, load(before + j) + load(change + i * D + j));
            }
        }
    }

    // g.angles: by the features after, becomes that by those before, in g.pairs for the first layer.
    void backward(const Graph& graph, const Kept& kept, Gradients& g) const {
        const std::size_t n_rows = graph.angles.size();
        first.begin_backward(graph, g);
        alignas(ALIGNMENT) float dz[TILE * G];
        for (std::size_t t = 0; t < n_rows; t += TILE) {
            const int size = int(std::min(std::size_t(TILE), n_rows - t));
            const Angle* tile = graph.angles.data() + t;
            float* da = g.angles.data() + t * D;
            end.backward(size, kept.rows.data() + t * G, kept.inverses.data() + t * 2, da, dz, nullptr);
            if (first.is_first)
                for (int i = 0; i < size; ++i)
                    add_row(g.pairs.data() + std::size_t(tile[i].pair) * PROJECTION + FEATURES, da + i * D, D);
            first.scatter(size, tile, dz, g, da, true);
        }
        first.end_backward(graph, g);
    }
};

} // namespace fuse2
