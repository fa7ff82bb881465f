// Energy, forces and stress of CHGNet (Deng et al., Nat. Mach. Intell. 2023, 5, 1031) for one structure at a time.
//
// One pass forward, one backward through the bond vectors, which gives forces and stress together. Geometry is in
// double precision, features are in single precision, as in the published model.

#include <new>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "basis.hpp"
#include "convolutions.hpp"

namespace fuse2 {

constexpr int ELEMENTS = 94;
constexpr int MAX_CONVOLUTIONS = 8, MAX_HIDDEN = 8;

struct Options {
    std::int32_t convolutions, hidden_layers, has_norm, has_readout_norm, radial, angular;
    std::int32_t cutoff_power;
    double bond_cutoff, angle_cutoff;
};

// From the features of an atom to its energy.
struct Readout {
    bool has_norm = false;
    int layers = 0;
    Vector scale, shift;
    Matrix maps[MAX_HIDDEN];
    Vector biases[MAX_HIDDEN], last;
    float last_bias = 0.0f;
    Buffer normalised, inverses, before[MAX_HIDDEN], x, y;

    void read(Weights& weights, const Options& options) {
        has_norm = options.has_readout_norm;
        layers = options.hidden_layers;
        scale.read(weights, D);
        shift.read(weights, D);
        for (int l = 0; l < layers; ++l) {
            maps[l].read(weights, D, D);
            biases[l].read(weights, D);
        }
        last.read(weights, D);
        last_bias = *weights.take(1);
    }

    double forward(int n, const float* atoms) {
        float* rows = x.get(std::size_t(n) * D);
        std::memcpy(rows, atoms, sizeof(float) * n * D);
        if (has_norm) norm_rows(n, rows);
        for (int l = 0; l < layers; ++l) {
            float* z = before[l].get(std::size_t(n) * D);
            fill_rows(z, n, D, biases[l].data());
            maps[l].apply(n, rows, D, z, D, true);
            for (int j = 0; j < n * D; j += LANES) store(rows + j, load(z + j) * sigmoid(load(z + j)));
        }
        double energy = 0.0;
        for (int i = 0; i < n; ++i) {
            vfloat products = {};
            for (int j = 0; j < D; j += LANES) products += load(rows + i * D + j) * load(last.data() + j);
            energy += double(sum(products)) + double(last_bias);
        }
        return energy;
    }

    void backward(int n, float* datoms) {
        float* dy = y.get(std::size_t(n) * D);
        fill_rows(dy, n, D, last.data());
        for (int l = layers - 1; l >= 0; --l) {
            const float* z = before[l].data();
            for (int j = 0; j < n * D; j += LANES) {
                const vfloat x = load(z + j), s = sigmoid(x);
                store(dy + j, load(dy + j) * (s + x * s * (1.0f - s)));
            }
            maps[l].apply_transposed(n, dy, D, datoms, D);
            std::memcpy(dy, datoms, sizeof(float) * n * D);
        }
        if (has_norm) norm_rows_backward(n, datoms);
    }

  private:
    void norm_rows(int n, float* rows) {
        float* kept = normalised.get(std::size_t(n) * D);
        float* inverse = inverses.get(n);
        for (int i = 0; i < n; ++i) {
            float* row = rows + i * D;
            vfloat total = {};
            for (int j = 0; j < D; j += LANES) total += load(row + j);
            const float mean = fuse2::sum(total) / D;
            for (int j = 0; j < D; j += LANES) store(row + j, load(row + j) - mean);
            inverse[i] = normalise(row);
            for (int j = 0; j < D; j += LANES) {
                store(kept + i * D + j, load(row + j));
                store(row + j, load(row + j) * load(scale.data() + j) + load(shift.data() + j));
            }
        }
    }

    void norm_rows_backward(int n, float* drows) {
        for (int i = 0; i < n; ++i) {
            float* row = drows + i * D;
            vfloat total = {};
            for (int j = 0; j < D; j += LANES) {
                store(row + j, load(row + j) * load(scale.data() + j));
                total += load(row + j);
            }
            const float mean = fuse2::sum(total) / D;
            for (int j = 0; j < D; j += LANES) store(row + j, load(row + j) - mean);
            normalise_backward(row, normalised.data() + i * D, inverses.data()[i]);
        }
    }
};

class Model {
  public:
    Model(const Options& options, const float* data) : options_(options) {
        Weights weights(data);
        references_.read(weights, ELEMENTS);
        embedding_.read(weights, ELEMENTS * D);
        basis_.read(weights, options.radial, options.angular, options.cutoff_power, options.bond_cutoff,
                    options.angle_cutoff);
        bond_features_.read(weights, BASIS, D);
        bond_weights_.read(weights, BASIS, D);
        short_weights_.read(weights, BASIS, D);
        projection_.read(weights, BASIS, PROJECTION);
        for (int l = 0; l < options.convolutions; ++l) atom_layers_[l].read(weights, options.has_norm);
        for (int l = 0; l + 1 < options.convolutions; ++l) bond_layers_[l].read(weights, options.has_norm, l == 0);
        for (int l = 0; l + 2 < options.convolutions; ++l) angle_layers_[l].read(weights, options.has_norm, l == 0);
        readout_.read(weights, options);
    }

    Status evaluate(int n, const std::int32_t* numbers, const double* positions, const double* cell, double* energy,
                    double* forces, double* virial, float* features) {
        const FlushToZero flush;
        const Status status = graph_.build(n, positions, cell, options_.bond_cutoff, options_.angle_cutoff);
        if (status != OK) return status;
        basis_.expand(graph_);
        *energy = forward(n, numbers);
        for (int i = 0; i < n; ++i) *energy += double(references_.data()[numbers[i] - 1]);
        if (forces) {
            backward(n);
            basis_.contract(graph_, dradial_.data(), dshort_.data(), dangular_.data(), forces, virial);
        }
        if (features) std::memcpy(features, penultimate_.data(), sizeof(float) * n * D);
        give_back();
        return std::isfinite(*energy) ? OK : NOT_FINITE;
    }

    const Graph& graph() const { return graph_; }

  private:
    // The allocator keeps what was freed unless it is asked.
    static void give_back() {
#ifdef __GLIBC__
        if (Buffer::was_released) malloc_trim(0);
#endif
        Buffer::was_released = false;
    }

    double forward(int n, const std::int32_t* numbers) {
        const int m = int(graph_.bonds.size()), k = graph_.n_short, pairs = int(graph_.pairs.size());
        float* x = atoms_.get(std::size_t(n) * D);
        for (int i = 0; i < n; ++i)
            std::memcpy(x + i * D, embedding_.data() + (numbers[i] - 1) * D, sizeof(float) * D);
        float* b = bonds_.get(std::size_t(m) * D);
        float* w = weights_of_bonds_.get(std::size_t(m) * D);
        float* v = weights_of_short_.get(std::size_t(k) * D);
        bond_features_.apply(m, basis_.radial.data(), BASIS, b, D);
        bond_weights_.apply(m, basis_.radial.data(), BASIS, w, D);
        short_weights_.apply(k, basis_.short_radial.data(), BASIS, v, D);
        float* p = pairs_.get(std::size_t(pairs) * PROJECTION);
        projection_.apply(pairs, basis_.angular.data(), BASIS, p, PROJECTION);
        float* a = angles_.get(graph_.angles.size() * D);
        const int last = options_.convolutions - 1;
        for (int l = 0; l <= last; ++l) {
            if (l == last) std::memcpy(penultimate_.get(std::size_t(n) * D), x, sizeof(float) * n * D);
            atom_layers_[l].forward(graph_, x, b, w, kept_atoms_[l], gradients_);
            if (l == last || graph_.angles.empty()) continue;
            bond_layers_[l].forward(graph_, x, b, a, p, v, kept_bonds_[l], gradients_);
            if (l + 1 < last) angle_layers_[l].forward(graph_, x, b, a, p, kept_angles_[l]);
        }
        return readout_.forward(n, x);
    }

    void backward(int n) {
        const int m = int(graph_.bonds.size()), k = graph_.n_short, pairs = int(graph_.pairs.size());
        Gradients& g = gradients_;
        readout_.backward(n, g.atoms.get(std::size_t(n) * D));
        g.bonds.zeros(std::size_t(m) * D);
        g.bond_weights.zeros(std::size_t(m) * D);
        g.short_weights.zeros(std::size_t(k) * D);
        g.pairs.zeros(std::size_t(pairs) * PROJECTION);
        g.angles.get(graph_.angles.size() * D);
        const int last = options_.convolutions - 1;
        for (int l = last; l >= 0; --l) {
            if (l < last && !graph_.angles.empty()) {
                const bool is_updated = l + 1 < last;
                if (is_updated) angle_layers_[l].backward(graph_, kept_angles_[l], g);
                bond_layers_[l].backward(graph_, pairs_.data(), weights_of_short_.data(), kept_bonds_[l], g,
                                         is_updated);
            }
            atom_layers_[l].backward(graph_, weights_of_bonds_.data(), kept_atoms_[l], g);
        }
        float* radial = dradial_.get(std::size_t(m) * BASIS);
        bond_features_.apply_transposed(m, g.bonds.data(), D, radial, BASIS);
        bond_weights_.apply_transposed(m, g.bond_weights.data(), D, radial, BASIS, true);
        short_weights_.apply_transposed(k, g.short_weights.data(), D, dshort_.get(std::size_t(k) * BASIS), BASIS);
        projection_.apply_transposed(pairs, g.pairs.data(), PROJECTION, dangular_.get(std::size_t(pairs) * BASIS),
                                     BASIS);
    }

    Options options_;
    Vector references_, embedding_;
    Basis basis_;
    Matrix bond_features_, bond_weights_, short_weights_, projection_;
    AtomConvolution atom_layers_[MAX_CONVOLUTIONS];
    BondConvolution bond_layers_[MAX_CONVOLUTIONS];
    AngleUpdate angle_layers_[MAX_CONVOLUTIONS];
    Readout readout_;
    Graph graph_;
    Buffer atoms_, penultimate_, bonds_, angles_, weights_of_bonds_, weights_of_short_, pairs_;
    Buffer dradial_, dshort_, dangular_;
    Kept kept_atoms_[MAX_CONVOLUTIONS], kept_bonds_[MAX_CONVOLUTIONS], kept_angles_[MAX_CONVOLUTIONS];
    Gradients gradients_;
};

} // namespace fuse2

extern "C" {

void* fuse2_chgnet_new(const fuse2::Options* options, const float* weights) {
    if (options->convolutions < 2 || options->convolutions > fuse2::MAX_CONVOLUTIONS ||
        options->hidden_layers > fuse2::MAX_HIDDEN)
        return nullptr;
    return new (std::nothrow) fuse2::Model(*options, weights);
}

void fuse2_chgnet_delete(void* model) { delete static_cast<fuse2::Model*>(model); }

// energy: eV; forces: n x 3, eV/Å; virial: 3 x 3, derivative of the energy by the strain, eV; returns a status.
// Without forces, a null pointer, only the energy is computed. features: n x 64, of the atoms before the last
// convolution, from which magnetic moments follow; not written if it is a null pointer.
int fuse2_chgnet_evaluate(void* model, int n, const std::int32_t* numbers, const double* positions,
                          const double* cell, double* energy, double* forces, double* virial, float* features) {
    try {
        return static_cast<fuse2::Model*>(model)->evaluate(n, numbers, positions, cell, energy, forces, virial,
                                                           features);
    } catch (const std::bad_alloc&) {
        return fuse2::NO_MEMORY;
    }
}

// Numbers of bonds, short bonds and angles of the structure evaluated last.
void fuse2_chgnet_sizes(const void* model, std::int64_t* sizes) {
    const fuse2::Graph& graph = static_cast<const fuse2::Model*>(model)->graph();
    sizes[0] = std::int64_t(graph.bonds.size());
    sizes[1] = graph.n_short;
    sizes[2] = std::int64_t(graph.angles.size());
}
}
