#include "domain/token.h"

#define MAC_BYTES 16
#define MAC_TEXT BASE64URL_LEN(MAC_BYTES)

static const char token_letter[] = {[TOKEN_SESSION] = 'g', [TOKEN_WATCH] = 'w', [TOKEN_WORKER] = 'x'};

static void token_mac(const struct keyset *keys, struct str text, char out[MAC_TEXT]) {
    uint8_t mac[SHA256_BYTES];
    crypto_hmac(&keys->tokens, text, mac);
    base64url_write(mac, MAC_BYTES, out);
}

void token_write(const struct keyring *keys, struct token t, struct buf *out) {
    char id[ID_TEXT_LEN + 1];
    id_format(t.id, t.kind == TOKEN_SESSION ? ID_SESSION : ID_TASK, id);
    size_t from = out->len;
    buf_put(out, id, ID_TEXT_LEN);
    buf_char(out, '.');
    buf_char(out, token_letter[t.kind]);
    buf_u64(out, t.gen);
    if (out->failed) {
        return;
    }
    char mac[MAC_TEXT];
    token_mac(&keys->set[0], str_n(out->data + from, out->len - from), mac);
    buf_char(out, '.');
    buf_put(out, mac, sizeof mac);
}

bool token_verify(const struct keyring *keys, struct str text, struct token *ret_token) {
    if (text.len < ID_TEXT_LEN + 4 + MAC_TEXT || text.len > TOKEN_TEXT_MAX || text.p[ID_TEXT_LEN] != '.') {
        return false;
    }
    size_t signed_len = text.len - MAC_TEXT - 1;
    char letter = text.p[ID_TEXT_LEN + 1];
    struct token t = {.kind = letter == 'g' ? TOKEN_SESSION : letter == 'w' ? TOKEN_WATCH : TOKEN_WORKER};
    struct str number = str_n(text.p + ID_TEXT_LEN + 2, signed_len - ID_TEXT_LEN - 2);
    if (letter != token_letter[t.kind] || text.p[signed_len] != '.' || number.len < 1 || number.len > 10 || number.p[0] == '0' ||
        !id_parse(str_n(text.p, ID_TEXT_LEN), t.kind == TOKEN_SESSION ? ID_SESSION : ID_TASK, &t.id)) {
        return false;
    }
    uint64_t gen = 0;
    for (size_t i = 0; i < number.len; i++) {
        if (number.p[i] < '0' || number.p[i] > '9') {
            return false;
        }
        gen = gen * 10 + (uint64_t) (number.p[i] - '0');
    }
    if (gen > UINT32_MAX) {
        return false;
    }
    t.gen = (uint32_t) gen;
    bool good = false;
    for (unsigned i = 0; i < keys->count; i++) {
        char mac[MAC_TEXT];
        token_mac(&keys->set[i], str_n(text.p, signed_len), mac);
        good |= crypto_equal(mac, text.p + signed_len + 1, sizeof mac);
    }
    if (good) {
        *ret_token = t;
    }
    return good;
}
