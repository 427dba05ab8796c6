// What crosses the border: it is described for library.py to compare, and everything that is used as an index is checked.
#pragma once

#include <cstddef>
#include <cstdio>

#include "model.hpp"

namespace tuner {

// Grows with every change of a function's arguments or of what they mean, here and in library.py.
constexpr int FORMAT = 9;

// The description: one line for each list and structure, a structure's fields as name:offset:size.
class Description {
    char *to;
    int64_t room;

  public:
    int64_t used = 0;

    Description(char *place, int64_t size) : to(place), room(size) {}

    template <typename... Values>
    void say(const char *format, Values... values) {
        const int64_t left = used < room ? room - used : 0;
        used += snprintf(left ? to + used : nullptr, size_t(left), format, values...);
    }
};

static int64_t describe(char *to, int64_t room) {
    Description d(to, room);
    d.say("format %d\nlayers %d\nlanes %d\nactivations", FORMAT, MOST_LAYERS, LANES);
#define WORD(name, word) d.say(" %s", #word);
    ACTIVATIONS(WORD)
    d.say("\nlosses");
    LOSSES(WORD)
    d.say("\nkinds");
    KINDS(WORD)
#undef WORD
#define PLACE(type, name, dimension) d.say(" " #name ":%d:%d", int(offsetof(S, name)), int(sizeof(S::name)));
    {
        typedef Terms S;
        d.say("\nTerms %d", int(sizeof(S)));
        TERMS_FIELDS(PLACE)
    }
    {
        typedef Model S;
        d.say("\nModel %d", int(sizeof(S)));
        MODEL_FIELDS(PLACE)
    }
    {
        typedef Visit S;
        d.say("\nVisit %d", int(sizeof(S)));
        VISIT_FIELDS(PLACE)
    }
    {
        typedef State S;
        d.say("\nState %d", int(sizeof(S)));
        STATE_FIELDS(PLACE)
    }
#undef PLACE
    d.say("\n");
    return d.used;
}

static bool outside(int64_t place, int64_t count, int64_t length) { return place < 0 || count > length || place > length - count; }

// What of the terms of the loss would lead outside of their arrays, or leave a level out of its group; null where nothing does.
static const char *mistake(const Terms &terms, const Model &m) {
    if (terms.columns != m.sizes[0]) return "terms must have as many columns as a padded row";
    if (terms.count < 0) return "the number of groups must not be negative";
    int64_t last = 0, levels = 0, members = 0;
    for (int64_t group = 0; group < terms.count; group++) {
        const int64_t first = terms.groups[2 * group];
        if (first < last) return "groups must be disjoint and in order";
        last = terms.groups[2 * group + 1];
        if (last <= first || last > m.features) return "groups must be ranges of a row's features";
        levels += last - first;
        for (int64_t column = first; column < last; column++) members += terms.kinds[column] == SOFTMAX;
    }
    for (int64_t column = 0; column < m.features; column++) {
        if (terms.kinds[column] < 0 || terms.kinds[column] >= KIND_COUNT) return "kinds must be numbers of the list of kinds";
        levels -= terms.kinds[column] == SOFTMAX;
        members -= terms.kinds[column] == SOFTMAX;
    }
    return levels || members ? "groups must hold exactly the columns of kind softmax" : nullptr;
}

// What of a model would lead outside of a table, of its own arrays or of `length` parameters; null where nothing does.
static const char *mistake(const Model &m, int64_t length) {
    if (m.activation < 0 || m.activation >= ACTIVATION_COUNT) return "activation must be a number of the list of activations";
    if (m.loss < 0 || m.loss >= LOSS_COUNT) return "loss must be a number of the list of losses";
    if (m.layers < 2 || m.layers > MOST_LAYERS || m.layers % 2) return "layers must be an even number that there is room for";
    if (m.batch < 1) return "batch must be at least 1";
    if (m.dropped < 0 || m.dropped >= 65536) return "dropped must be below 65536";
    for (int place = 0; place <= m.layers; place++) {
        if (m.sizes[place] < LANES || m.sizes[place] % LANES) return "sizes must be multiples of the lanes";
        if (m.units[place] < 1 || m.units[place] > m.sizes[place]) return "units must be between 1 and their size";
    }
    if (m.sizes[0] != m.sizes[m.layers]) return "sizes must end as they begin";
    if (m.features < 1 || m.features > m.sizes[0]) return "features must be between 1 and their size";
    if ((m.low == nullptr) != (m.high == nullptr)) return "bounds must have both of their sides";
    if ((m.loss == TERMS) != (m.terms != nullptr)) return "terms must be given with the loss that has them, and with no other";
    if (m.terms)
        if (const char *wrong = mistake(*m.terms, m)) return wrong;
    for (int layer = 0; layer < m.layers; layer++) {
        const int64_t out = outputs(m, layer + 1);
        if (outside(m.weights[layer], m.sizes[layer] * out, length)) return "weights must lie within the parameters";
        if (outside(m.biases[layer], out, length)) return "biases must lie within the parameters";
        if (m.norm && !linear(m, layer + 1) && outside(m.gains[layer], 2 * out, length)) return "gains must lie within the parameters";
    }
    const int64_t between = int64_t(m.sizes[0]) * m.sizes[code_layer(m)];
    if (m.skip && outside(m.skip_encoder, between, length)) return "the skip's encoder must lie within the parameters";
    if (m.skip && outside(m.skip_decoder, between, length)) return "the skip's decoder must lie within the parameters";
    return nullptr;
}

// The same of a call for `count` rows, at most `at_once` of them together, in work space of `room` values.
static const char *mistake(const Model &m, int64_t length, int64_t count, int64_t at_once, int64_t room) {
    if (const char *wrong = mistake(m, length)) return wrong;
    if (count < 0) return "the number of rows must not be negative";
    if (at_once < 1) return "rows at once must be at least 1";
    return lay_out(m, at_once, nullptr, nullptr) > room ? "the work space must be as large as tuner_room says" : nullptr;
}

static const char *mistake(const Visit &visit) {
    if (visit.position < 0) return "position must not be negative";
    for (int64_t at = 0; at < visit.count; at++)
        if (visit.order[at] < 0 || visit.order[at] >= visit.rows) return "order must hold numbers of rows";
    return nullptr;
}

}  // namespace tuner
