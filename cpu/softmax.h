/* The loop that block_sparse, neighborhood, sharded and landmark share: attention by tiles, with an online softmax.
 *
 * A primitive says, through a slat_walk, how queries are cut into tiles, which keys each tile visits, step by step, and
 * which of them each query sees. The loop does the rest, forward (softmax_forward.c) and backward (softmax_backward.c).
 * Vector lanes are queries: scores stand transposed, a row a key, so that maxima and sums need no shuffles.
 */
#ifndef SLAT_CPU_SOFTMAX_H
#define SLAT_CPU_SOFTMAX_H
#include "vec.h"
#include "walk.h"

#define LANES       64  /* queries of a strip, at most */
#define QUAD        4   /* queries whose keys are weighed together, at least */
#define LANE_GROUP  16  /* a strip's width in memory is a multiple of this, on every instruction set */
#define ROWS        256 /* keys of a step, at most */
#define STEP_ROWS   64  /* of one in one line */
#define STEP_BLOCKS 32  /* landmark's blocks of a step, at most */
#define PIECES      64  /* runs of consecutive keys of a step, at most */
#define STRIPS      16  /* of a tile, at most */
#define TILE_LANES  256 /* of a tile's strips, at most */
#define STOP_HEADS  16  /* key heads: fewer are worth halving */

/* Queries that are computed side by side: `rows` of each of one or more query heads, from `head` on. */
typedef struct {
    int32_t head, rows, lanes;
    int32_t wide;                 /* lanes rounded up to LANE_GROUP */
    slat_point at[LANES];         /* the queries' points in q's box */
    int64_t position;             /* sequences: p() of lane 0; lane l stands at position + l % rows */
    int32_t offset[3], extent[3]; /* grids: its box in the tile's; lanes run through it in row-major order */
} slat_strip;

static inline int32_t slat_lane_head(const slat_strip *strip, int32_t lane)
{
    return strip->head + lane / strip->rows;
}

/* Strips that visit the same keys, all of one batch entry and key head. */
typedef struct {
    int64_t b;
    int32_t key_head, strips;
    int64_t last;          /* sequences: the last lane's position */
    int64_t row, in_block; /* block_sparse: its row of indptr, and its first query's place in the query block */
    int64_t first[3];      /* grids: the box's first query, in q's box */
    int64_t group[3];      /* grids: the dilation group; what follows counts places inside it */
    int64_t begin[3][TILE_LANES], end[3][TILE_LANES]; /* grids: keys that the box's i-th query sees in each dimension */
    int64_t key_begin[3], key_end[3];                 /* grids: all keys that the tile sees */
    slat_strip strip[STRIPS];
} slat_tile;

/* Keys z, z + dz, ... of one line of k's grid. */
typedef struct {
    slat_point first;
    int32_t count;
} slat_piece;

/* SLAT_BUCKET: each line is one whole block of landmark's, earlier than the queries' own. A block of more than ROWS
 * keys comes in several steps: its ordinary keys (SLAT_INNER), its landmark (SLAT_OUTER), and, backward, its ordinary
 * keys once more (SLAT_AGAIN). */
typedef enum { SLAT_ATTEND, SLAT_BUCKET, SLAT_INNER, SLAT_OUTER, SLAT_AGAIN } slat_step_kind;

/* Keys that a tile visits together, in order. */
typedef struct {
    int64_t cursor[3];    /* the walk's own: where it goes on. Zero before the first step */
    int64_t number;       /* the loop's own: steps of the tile so far */
    int32_t pieces, rows; /* rows: the pieces' keys in all */
    int32_t line;         /* rows fall into lines of this many; a strip may see a part of each line */
    int32_t dz;           /* between neighbouring keys of a piece */
    int64_t from[3];      /* grids: its first key, inside the tile's dilation group */
    int32_t whole;        /* every query of the tile sees every key */
    slat_step_kind kind;
    slat_piece piece[PIECES];
    uint64_t bits[ROWS]; /* block_sparse with bitmaps: which lanes see the row, before the causal rule */
} slat_step;

/* What one strip sees of a step: rows first ... first + length - 1 of `lines` lines from line `line`. */
typedef struct {
    int32_t line, lines, first, length;
    int32_t whole;       /* every lane sees all of them, else */
    uint64_t bits[ROWS]; /* which lanes see each of them */
    int32_t narrow;      /* not every lane sees some of every line: */
    uint8_t first_line[LANES / QUAD], end_line[LANES / QUAD]; /* which lines a quad sees some of, */
    uint8_t first_lane[PIECES], end_lane[PIECES];             /* and which quads see some of a line, in lanes */
} slat_sight;

typedef struct slat_walk slat_walk;

/* A problem and how it is cut. */
typedef struct {
    const slat_problem *p;
    const slat_walk *walk;
    int64_t tiles;       /* of one batch entry and key head */
    int32_t lanes;       /* of a tile at most */
    int32_t rows;        /* of a step at most */
    int64_t steps, keys; /* of a tile at most */
    int32_t apart;       /* a strip sees about one of so many of its tile's keys */
    int32_t long_blocks; /* landmark's blocks come in several steps */
    int64_t cut[8];      /* the walk's own */

    /* Backward sums dq over the keys before `stop` and over those from it on apart, so that two workers may share a
     * head; no step has keys of both. A coordinate of dimension stop_dim of k's grid; INT64_MAX: they are not apart.
     * The walk gives what stop is a multiple of, the keys that a query sees anywhere, and the share of all keys behind
     * it; or, where there is a list of what is seen, each head's own stop from that, at most `slack` keys away. */
    int64_t stop, stop_unit, slack, stops[STOP_HEADS];
    int32_t stop_dim;
    double near, behind;
} slat_cut;

/* The stop of a tile's head. */
static inline int64_t slat_stop(const slat_cut *cut, const slat_tile *tile)
{
    return cut->stop == INT64_MAX ? cut->stop : cut->stops[tile->b * cut->p->hk + tile->key_head];
}

/* Of `count` keys of a sequence from `key` on: those before the stop, if any are. */
static inline int64_t slat_until_stop(int64_t stop, int64_t key, int64_t count)
{
    return key < stop ? slat_min(count, stop - key) : count;
}

/* Whether a step has keys before the stop, and `key` is not. */
static inline int slat_crosses_stop(int64_t stop, const slat_step *step, int64_t key)
{
    return step->pieces && step->piece[0].first.z < stop && key >= stop;
}

/* Key heads of all batch entries. */
static inline int64_t slat_heads(const slat_problem *p)
{
    return p->b * p->hk;
}

/* Whether a step stands behind the stop. */
static inline int slat_is_behind(const slat_cut *cut, const slat_tile *tile, const slat_step *step)
{
    const slat_point at = step->piece[0].first;
    return (cut->stop_dim == 0 ? at.x : cut->stop_dim == 1 ? at.y : at.z) >= slat_stop(cut, tile);
}

struct slat_walk {
    const char *name;
    /* Fills tiles, lanes, rows, steps, keys and cut from shapes alone. */
    void (*cut)(slat_cut *cut);
    /* Tile `index` of (b, key_head), both set. */
    void (*tile)(const slat_cut *cut, int64_t index, slat_tile *tile);
    /* The step after *step; 0: there is none. */
    int (*step)(const slat_cut *cut, const slat_tile *tile, slat_step *step);
    /* 0: the strip sees nothing of the step. */
    int (*sight)(const slat_cut *cut, const slat_tile *tile, const slat_strip *strip, const slat_step *step,
                 slat_sight *sight);
    /* Whether a tile may see any of keys first ... end - 1, found faster than by its steps. NULL: it may. */
    int (*reaches)(const slat_cut *cut, int64_t index, int64_t first, int64_t end);
    /* The stop that halves a head's list, no more than `slack` from the cut's. NULL: the cut's. */
    int64_t (*stop)(const slat_cut *cut, int64_t b, int32_t key_head);
};

#define slat_block_sparse_walk CPU_NAME(block_sparse_walk)
#define slat_neighborhood_walk CPU_NAME(neighborhood_walk)
#define slat_sharded_walk      CPU_NAME(sharded_walk)
#define slat_landmark_walk     CPU_NAME(landmark_walk)
extern const slat_walk slat_block_sparse_walk, slat_neighborhood_walk, slat_sharded_walk, slat_landmark_walk;

/* softmax.c: a problem's walk, and its cut. */
#define slat_softmax_cut CPU_NAME(softmax_cut)
slat_cut slat_softmax_cut(const slat_problem *p);

/* The passes, and their workspace. */
#define slat_softmax_forward        CPU_NAME(softmax_forward)
#define slat_softmax_backward       CPU_NAME(softmax_backward)
#define slat_softmax_forward_bytes  CPU_NAME(softmax_forward_bytes)
#define slat_softmax_backward_bytes CPU_NAME(softmax_backward_bytes)
void slat_softmax_forward(const slat_cut *cut, const slat_run *run);
void slat_softmax_backward(const slat_cut *cut, const slat_run *run);
size_t slat_softmax_forward_bytes(const slat_cut *cut, const slat_run *run);
size_t slat_softmax_backward_bytes(const slat_cut *cut, const slat_run *run);
#endif
