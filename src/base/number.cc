#include "base/number.h"

#include <charconv>

size_t number_text(double v, char out[NUMBER_TEXT_MAX]) {
    return static_cast<size_t>(std::to_chars(out, out + NUMBER_TEXT_MAX, v).ptr - out);
}
