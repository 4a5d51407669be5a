#include "base/json_index.h"

#include <cstring>
#include <memory>
#include <new>
#include <simdjson.h>

using simdjson::internal::dom_parser_implementation;

namespace {

/* Made when a thread parses for the first time. */
thread_local std::unique_ptr<dom_parser_implementation> indexer;

bool indexer_ready() {
    if (indexer) {
        return true;
    }
    if (simdjson::get_active_implementation()->create_dom_parser_implementation(JSON_INDEX_MAX, 1, indexer) != simdjson::SUCCESS) {
        indexer.reset();
    }
    return indexer != nullptr;
}

/* The portable implementation looks a byte past the end of a text that stops within a character; the wide ones never do. */
simdjson::error_code run(dom_parser_implementation &impl, const uint8_t *text, size_t len) {
    static const bool portable = simdjson::get_active_implementation()->name() == "fallback";
    if (!portable) {
        return impl.stage1(text, len, simdjson::stage1_mode::regular);
    }
    std::unique_ptr<uint8_t[]> copy(new (std::nothrow) uint8_t[len + simdjson::SIMDJSON_PADDING]);
    if (!copy) {
        return simdjson::MEMALLOC;
    }
    std::memcpy(copy.get(), text, len);
    std::memset(copy.get() + len, ' ', simdjson::SIMDJSON_PADDING);
    return impl.stage1(copy.get(), len, simdjson::stage1_mode::regular);
}

} // namespace

enum json_index_result json_index(const char *text, size_t len, const uint32_t **ret_at, size_t *ret_count) {
    if (len == 0) {
        return JSON_INDEX_EMPTY;
    }
    if (len > JSON_INDEX_MAX) {
        return JSON_INDEX_TOO_LARGE;
    }
    if (!indexer_ready()) {
        return JSON_INDEX_NO_MEMORY;
    }
    switch (run(*indexer, reinterpret_cast<const uint8_t *>(text), len)) {
    case simdjson::SUCCESS: break;
    case simdjson::EMPTY: return JSON_INDEX_EMPTY;
    case simdjson::CAPACITY: return JSON_INDEX_TOO_LARGE;
    case simdjson::MEMALLOC: return JSON_INDEX_NO_MEMORY;
    default: return JSON_INDEX_MALFORMED;
    }
    *ret_at = indexer->structural_indexes.get();
    *ret_count = indexer->n_structural_indexes;
    return JSON_INDEX_OK;
}
