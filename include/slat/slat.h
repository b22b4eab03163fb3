/**
 * @file
 * slat: Sparse and Linear ATtention kernels in C. This header includes all the others.
 */
#ifndef SLAT_SLAT_H
#define SLAT_SLAT_H
#include <slat/block_sparse.h>
#include <slat/landmark.h>
#include <slat/lightning.h>
#include <slat/merge.h>
#include <slat/neighborhood.h>
#include <slat/sharded.h>

#endif
