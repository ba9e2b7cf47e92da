// The peer of `tickroute perf book`: ITCH 5.0 messages made into records, and full order books built, as C++ does it by
// hand.
//
// FILE HIGHEST MESSAGES ROUNDS: maps the file; orders are a vector indexed by their number, a side is a vector of levels sorted with
// the best at its end. Prints a line of JSON: ns a message of each round, records alone and books alone, and a checksum of
// the books that the other side must get too.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

static inline uint16_t be16(const uint8_t* p) { uint16_t v; memcpy(&v, p, 2); return __builtin_bswap16(v); }
static inline uint32_t be32(const uint8_t* p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
static inline uint64_t be64(const uint8_t* p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
static inline uint64_t be48(const uint8_t* p) { return (uint64_t)be16(p) << 32 | be32(p + 2); }

struct Level { int64_t rank; int64_t qty; };                     // rank: price of a bid, negated price of an offer
struct Order { int32_t px; int32_t qty; int32_t side; int32_t spare; };  // side: 2 * stock (bids) or + 1; qty 0: none
struct Books {
    std::vector<Order> orders;
    std::vector<std::vector<Level>> sides;
    void change(int side, int64_t px, int64_t qty) {
        int64_t rank = side & 1 ? -px : px;
        auto& levels = sides[side];
        size_t n = levels.size();
        while (n > 0 && levels[n - 1].rank > rank) n--;
        if (n > 0 && levels[n - 1].rank == rank) {
            levels[n - 1].qty += qty;
            if (levels[n - 1].qty == 0) levels.erase(levels.begin() + n - 1);
        } else {
            levels.insert(levels.begin() + n, Level{rank, qty});
        }
    }
    void add(uint64_t id, int side, uint32_t px, uint32_t qty) {
        orders[id] = Order{(int32_t)px, (int32_t)qty, side, 0};
        change(side, px, qty);
    }
    void reduce(uint64_t id, uint32_t qty) {
        Order& o = orders[id];
        if (o.qty == 0) return;
        int32_t taken = std::min<int32_t>(qty, o.qty);
        o.qty -= taken;
        change(o.side, o.px, -taken);
    }
};

// The record that the other side makes of an order message: 128 bytes, whatever of them a message fills.
struct alignas(64) Record {
    uint64_t header;
    int32_t epoch; int16_t stream; int16_t venue;
    int64_t seq; int64_t event_ns; int64_t recv_ns;
    int32_t instrument; int8_t side; int8_t action; int16_t flags;
    int64_t px; int64_t qty; int64_t order; int64_t new_order; int64_t own_px; int64_t match; int64_t reserved[4];
};
static_assert(sizeof(Record) == 128, "as in engine/record/records.py");
static const size_t BATCH = 2048;

static uint64_t parse(const uint8_t* p, const uint8_t* end, Record* batch, uint64_t midnight) {
    uint64_t made = 0;  // in units of 64 bytes
    size_t n = 0;
    while (p + 2 <= end) {
        uint16_t length = be16(p);
        const uint8_t* m = p + 2;
        if (n == BATCH) {
            __asm__ volatile("" ::: "memory");  // somebody reads them here
            n = 0;
        }
        Record& r = batch[n];
        memset(&r, 0, sizeof r);
        r.header = 0x0001'1e25'0004'0078;
        r.instrument = be16(m + 1);
        r.event_ns = midnight + be48(m + 5);
        switch (m[0]) {
            case 'A': case 'F':
                r.order = be64(m + 11); r.side = m[19] == 'B' ? '1' : '2'; r.qty = be32(m + 20); r.px = be32(m + 32); break;
            case 'E': r.action = 3; r.order = be64(m + 11); r.qty = be32(m + 19); r.match = be64(m + 23); break;
            case 'C':
                r.action = 3; r.order = be64(m + 11); r.qty = be32(m + 19); r.match = be64(m + 23);
                r.flags = m[31] == 'N' ? 16 : 0; r.own_px = be32(m + 32); break;
            case 'X': r.action = 4; r.order = be64(m + 11); r.qty = be32(m + 19); break;
            case 'D': r.action = 2; r.order = be64(m + 11); break;
            case 'U':
                r.action = 5; r.order = be64(m + 11); r.new_order = be64(m + 19); r.qty = be32(m + 27); r.px = be32(m + 31); break;
            case 'P': r.qty = be32(m + 20); r.px = be32(m + 32); made--; break;
            default: n--; made -= 2; break;
        }
        n++;
        made += 2;
        p = m + length;
    }
    return made;
}

static void build(const uint8_t* p, const uint8_t* end, Books& b) {
    while (p + 2 <= end) {
        uint16_t length = be16(p);
        const uint8_t* m = p + 2;
        switch (m[0]) {
            case 'A': case 'F':
                b.add(be64(m + 11), 2 * be16(m + 1) + (m[19] == 'B' ? 0 : 1), be32(m + 32), be32(m + 20)); break;
            case 'E': case 'X': b.reduce(be64(m + 11), be32(m + 19)); break;
            case 'C': b.reduce(be64(m + 11), be32(m + 19)); break;
            case 'D': b.reduce(be64(m + 11), UINT32_MAX >> 1); break;
            case 'U': {
                uint64_t old = be64(m + 11);
                int side = b.orders[old].side;
                b.reduce(old, UINT32_MAX >> 1);
                b.add(be64(m + 19), side, be32(m + 31), be32(m + 27));
                break;
            }
            default: break;
        }
        p = m + length;
    }
}

int main(int argc, char** argv) {
    if (argc != 5) { fprintf(stderr, "usage: %s FILE HIGHEST MESSAGES ROUNDS\n", argv[0]); return 2; }
    int fd = open(argv[1], O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) { perror(argv[1]); return 1; }
    size_t size = st.st_size, highest = strtoull(argv[2], nullptr, 10);
    double messages = strtod(argv[3], nullptr);
    int rounds = atoi(argv[4]);
    const uint8_t* data = (const uint8_t*)mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (data == MAP_FAILED) { perror("mmap"); return 1; }
    auto now = [] { return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count(); };
    uint64_t sum = 0, check = 0;
    std::vector<Record> batch(BATCH);
    printf("{\"parse\": [");
    for (int r = 0; r < rounds; r++) {
        double t = now();
        sum = parse(data, data + size, batch.data(), 1577682000000000000ull);
        printf("%s%.3f", r ? ", " : "", (now() - t) / messages);
    }
    printf("], \"book\": [");
    for (int r = 0; r < rounds; r++) {
        Books b;
        b.orders.resize(highest + 1);
        b.sides.resize(2 * 65536);
        for (auto& side : b.sides) side.reserve(4);
        double t = now();
        build(data, data + size, b);
        printf("%s%.3f", r ? ", " : "", (now() - t) / messages);
        check = 0;
        for (size_t s = 0; s < b.sides.size(); s++)
            for (auto& level : b.sides[s]) check += (uint64_t)level.rank * 31 + (uint64_t)level.qty * 7;
    }
    printf("], \"made\": %llu, \"check\": %lld}\n", (unsigned long long)sum, (long long)check);
    return 0;
}
