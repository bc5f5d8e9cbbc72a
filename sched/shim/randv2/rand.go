// Package rand is a drop-in for the standard library's math/rand/v2: the functions that draw
// from the source that nobody has seeded draw from the run instead, if a task calls them,
// so that they draw the same whenever the choices are the same. All else is the real thing.
package rand

import (
	"math/rand/v2"

	"github.com/poolproof/poolproof/sched"
)

// The real types.
type (
	ChaCha8 = rand.ChaCha8
	PCG     = rand.PCG
	Rand    = rand.Rand
	Source  = rand.Source
	Zipf    = rand.Zipf
)

// New is rand.New.
func New(src Source) *Rand { return rand.New(src) }

// NewChaCha8 is rand.NewChaCha8.
func NewChaCha8(seed [32]byte) *ChaCha8 { return rand.NewChaCha8(seed) }

// NewPCG is rand.NewPCG.
func NewPCG(seed1, seed2 uint64) *PCG { return rand.NewPCG(seed1, seed2) }

// NewZipf is rand.NewZipf.
func NewZipf(r *Rand, s, v float64, imax uint64) *Zipf { return rand.NewZipf(r, s, v, imax) }

// drawn returns the run's source; nil outside a run.
func drawn() *Rand {
	if t := sched.Here(); t != nil {
		return t.Rand()
	}
	return nil
}

// Shuffle is rand.Shuffle.
func Shuffle(n int, swap func(i, j int)) {
	if r := drawn(); r != nil {
		r.Shuffle(n, swap)
		return
	}
	rand.Shuffle(n, swap)
}

// N is rand.N.
func N[Int interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}](n Int) Int {
	if n <= 0 {
		panic("invalid argument to N")
	}
	return Int(Uint64N(uint64(n)))
}

// ExpFloat64 is rand.ExpFloat64.
func ExpFloat64() float64 {
	if r := drawn(); r != nil {
		return r.ExpFloat64()
	}
	return rand.ExpFloat64()
}

// Float32 is rand.Float32.
func Float32() float32 {
	if r := drawn(); r != nil {
		return r.Float32()
	}
	return rand.Float32()
}

// Float64 is rand.Float64.
func Float64() float64 {
	if r := drawn(); r != nil {
		return r.Float64()
	}
	return rand.Float64()
}

// Int is rand.Int.
func Int() int {
	if r := drawn(); r != nil {
		return r.Int()
	}
	return rand.Int()
}

// Int32 is rand.Int32.
func Int32() int32 {
	if r := drawn(); r != nil {
		return r.Int32()
	}
	return rand.Int32()
}

// Int32N is rand.Int32N.
func Int32N(n int32) int32 {
	if r := drawn(); r != nil {
		return r.Int32N(n)
	}
	return rand.Int32N(n)
}

// Int64 is rand.Int64.
func Int64() int64 {
	if r := drawn(); r != nil {
		return r.Int64()
	}
	return rand.Int64()
}

// Int64N is rand.Int64N.
func Int64N(n int64) int64 {
	if r := drawn(); r != nil {
		return r.Int64N(n)
	}
	return rand.Int64N(n)
}

// IntN is rand.IntN.
func IntN(n int) int {
	if r := drawn(); r != nil {
		return r.IntN(n)
	}
	return rand.IntN(n)
}

// NormFloat64 is rand.NormFloat64.
func NormFloat64() float64 {
	if r := drawn(); r != nil {
		return r.NormFloat64()
	}
	return rand.NormFloat64()
}

// Perm is rand.Perm.
func Perm(n int) []int {
	if r := drawn(); r != nil {
		return r.Perm(n)
	}
	return rand.Perm(n)
}

// Uint is rand.Uint.
func Uint() uint {
	if r := drawn(); r != nil {
		return r.Uint()
	}
	return rand.Uint()
}

// Uint32 is rand.Uint32.
func Uint32() uint32 {
	if r := drawn(); r != nil {
		return r.Uint32()
	}
	return rand.Uint32()
}

// Uint32N is rand.Uint32N.
func Uint32N(n uint32) uint32 {
	if r := drawn(); r != nil {
		return r.Uint32N(n)
	}
	return rand.Uint32N(n)
}

// Uint64 is rand.Uint64.
func Uint64() uint64 {
	if r := drawn(); r != nil {
		return r.Uint64()
	}
	return rand.Uint64()
}

// Uint64N is rand.Uint64N.
func Uint64N(n uint64) uint64 {
	if r := drawn(); r != nil {
		return r.Uint64N(n)
	}
	return rand.Uint64N(n)
}

// UintN is rand.UintN.
func UintN(n uint) uint {
	if r := drawn(); r != nil {
		return r.UintN(n)
	}
	return rand.UintN(n)
}
