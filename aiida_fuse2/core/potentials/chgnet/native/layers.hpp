// The layers of CHGNet, forward and backward, on rows of 64 features.
//
// Deng et al., Nat. Mach. Intell. 2023, 5, 1031, DOI 10.1038/s42256-023-00716-3. What is different here and exact:
// the first linear map of a gated MLP is applied to atoms, bonds and angles before they are gathered; core and gate
// lie side by side; where a LayerNorm follows, the weights are centred beforehand, so that its mean is zero; what
// gradients need is partly kept and partly computed again, whichever is faster.

#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "graph.hpp"
#include "vectors.hpp"

namespace fuse2 {

constexpr int D = 64;           // features of an atom, a bond or an angle
constexpr int G = 2 * D;        // core and gate of a gated MLP
constexpr int BASIS = 32;       // functions of a distance or an angle, filled up with zeros
constexpr int TILE = 24;        // rows that are worked on while they are in the fastest cache
constexpr float NORM_EPSILON = 1e-5f;

// Reads the arrays of the model one after the other; keeps transposed copies, which gradients need.
class Weights {
  public:
    explicit Weights(const float* data) : data_(data) {}

    const float* take(std::size_t n) {
        const float* p = data_;
        data_ += n;
        return p;
    }

  private:
    const float* data_;
};

struct Matrix {
    int rows = 0, columns = 0;
    Buffer plain, transposed;

    void read(Weights& weights, int n_rows, int n_columns) {
        rows = n_rows;
        columns = n_columns;
        const float* w = weights.take(std::size_t(rows) * columns);
        float* p = plain.get(std::size_t(rows) * columns);
        float* t = transposed.get(std::size_t(rows) * columns);
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; ++j) p[i * columns + j] = t[j * rows + i] = w[i * columns + j];
    }

    // y = x W
    void apply(int m, const float* x, std::size_t ldx, float* y, std::size_t ldy, bool accumulate = false) const {
        product(m, rows, columns, x, ldx, plain.data(), columns, y, ldy, accumulate);
    }

    // The gradient by x: dx = dy W^T
    void apply_transposed(int m, const float* dy, std::size_t ldy, float* dx, std::size_t ldx,
                          bool accumulate = false) const {
        product(m, columns, rows, dy, ldy, transposed.data(), rows, dx, ldx, accumulate);
    }
};

struct Vector {
    Buffer values;

    void read(Weights& weights, int n) {
        const float* w = weights.take(n);
        float* p = values.get(n);
        for (int i = 0; i < n; ++i) p[i] = w[i];
    }

    const float* data() const { return values.data(); }
};

inline void fill_rows(float* rows, int m, int width, const float* values) {
    for (int i = 0; i < m; ++i)
        for (int j = 0; j < width; j += LANES) store(rows + std::size_t(i) * width + j, load(values + j));
}

inline void add_row(float* to, const float* from, int width) {
    for (int j = 0; j < width; j += LANES) add_to(to + j, load(from + j));
}

// LayerNorm of a row whose mean is zero; writes the normalised row in place of x and returns 1/sigma.
inline float normalise(float* x) {
    vfloat squares = {};
    for (int j = 0; j < D; j += LANES) squares += load(x + j) * load(x + j);
    const float inverse = 1.0f / std::sqrt(sum(squares) / D + NORM_EPSILON);
    for (int j = 0; j < D; j += LANES) store(x + j, load(x + j) * inverse);
    return inverse;
}

// The gradient by the row before `normalise`, from that by the normalised row, up to a constant that the centred
// weights take out.
inline void normalise_backward(float* dx, const float* normalised, float inverse) {
    vfloat products = {};
    for (int j = 0; j < D; j += LANES) products += load(dx + j) * load(normalised + j);
    const float mean = sum(products) / D;
    for (int j = 0; j < D; j += LANES) store(dx + j, (load(dx + j) - load(normalised + j) * mean) * inverse);
}

// The end of a gated MLP: silu(norm(core)) * sigmoid(norm(gate)).
struct Gate {
    bool has_norm = false;
    Vector scale, shift; // of LayerNorm: core, then gate

    void read(Weights& weights, bool norm) {
        has_norm = norm;
        scale.read(weights, G);
        shift.read(weights, G);
    }

    // rows: m x G, core and gate; are normalised in place, and kept for `backward` with their 1/sigma (m x 2).
    // out: m x D.
    void forward(int m, float* rows, float* inverses, float* out) const {
        for (int i = 0; i < m; ++i) {
            float* row = rows + i * G;
            if (has_norm) {
                inverses[2 * i] = normalise(row);
                inverses[2 * i + 1] = normalise(row + D);
            }
            for (int j = 0; j < D; j += LANES) {
                const vfloat core = affine(row, j), gate = affine(row, D + j);
                store(out + i * D + j, core * sigmoid(core) * sigmoid(gate));
            }
        }
    }

    // Returns in `drows` (m x G) the gradient by the rows before the norm, from that by the output (m x D), and in
    // `out` (m x D) the output again, unless it is null.
    void backward(int m, const float* rows, const float* inverses, const float* dout, float* drows, float* out) const {
        for (int i = 0; i < m; ++i) {
            const float* row = rows + i * G;
            float* drow = drows + i * G;
            for (int j = 0; j < D; j += LANES) {
                const vfloat core = affine(row, j), gate = affine(row, D + j), d = load(dout + i * D + j);
                const vfloat s = sigmoid(core), silu = core * s, open = sigmoid(gate);
                store(drow + j, scaled(d * open * (s + silu * (1.0f - s)), j));
                store(drow + D + j, scaled(d * silu * open * (1.0f - open), D + j));
                if (out) store(out + i * D + j, silu * open);
            }
            if (has_norm) {
                normalise_backward(drow, row, inverses[2 * i]);
                normalise_backward(drow + D, row + D, inverses[2 * i + 1]);
            }
        }
    }

    vfloat affine(const float* row, int j) const {
        const vfloat x = load(row + j);
        return has_norm ? x * load(scale.data() + j) + load(shift.data() + j) : x;
    }

    vfloat scaled(vfloat d, int j) const { return has_norm ? d * load(scale.data() + j) : d; }
};

// The second linear map of a gated MLP, with silu before and the gate after it.
struct SecondMap {
    Matrix core, gate;
    Vector bias;
    Gate end;

    void read(Weights& weights, bool norm) {
        core.read(weights, D, D);
        gate.read(weights, D, D);
        bias.read(weights, G);
        end.read(weights, norm);
    }

    // z: m x G, before silu; becomes silu(z). rows, inverses: kept. out: m x D.
    void forward(int m, float* z, float* rows, float* inverses, float* out) const {
        for (int j = 0; j < m * G; j += LANES) {
            const vfloat x = load(z + j);
            store(z + j, x * sigmoid(x));
        }
        fill_rows(rows, m, G, bias.data());
        core.apply(m, z, G, rows, G, true);
        gate.apply(m, z + D, G, rows + D, G, true);
        end.forward(m, rows, inverses, out);
    }

    // z: before silu; becomes the gradient by it. out: the output again.
    void backward(int m, float* z, const float* rows, const float* inverses, const float* dout, float* out) const {
        alignas(ALIGNMENT) float drows[TILE * G], dsilu[TILE * G];
        end.backward(m, rows, inverses, dout, drows, out);
        core.apply_transposed(m, drows, G, dsilu, G);
        gate.apply_transposed(m, drows + D, G, dsilu + D, G);
        for (int j = 0; j < m * G; j += LANES) {
            const vfloat x = load(z + j), s = sigmoid(x);
            store(z + j, load(dsilu + j) * (s + x * s * (1.0f - s)));
        }
    }
};

// What a layer keeps for its gradient.
struct Kept {
    Buffer atoms, bonds;   // first map of atoms and bonds
    Buffer first;          // first map of angles, where it is not shared by pairs
    Buffer rows, inverses; // gated MLP before the gate, normalised, and 1/sigma
};

// Gradients by the features, which the layers add to, and memory that they use in turn.
struct Gradients {
    Buffer atoms, bonds, angles;              // by the features
    Buffer bond_weights, short_weights;       // by the weights of messages
    Buffer pairs;                             // by what an angle's basis is projected on
    Buffer sum, first_atoms, first_bonds;     // scratch
};

} // namespace fuse2
