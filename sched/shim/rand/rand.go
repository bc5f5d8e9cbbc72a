// Package rand is a drop-in for the standard library's math/rand: the functions that draw
// from the source that nobody has seeded draw from the run instead, if a task calls them,
// so that they draw the same whenever the choices are the same. All else is the real thing.
package rand

import (
	"math/rand"

	"github.com/poolproof/poolproof/sched"
)

// The real types.
type (
	Rand     = rand.Rand
	Source   = rand.Source
	Source64 = rand.Source64
	Zipf     = rand.Zipf
)

// New is rand.New.
func New(src Source) *Rand { return rand.New(src) }

// NewSource is rand.NewSource.
func NewSource(seed int64) Source { return rand.NewSource(seed) }

// NewZipf is rand.NewZipf.
func NewZipf(r *Rand, s, v float64, imax uint64) *Zipf { return rand.NewZipf(r, s, v, imax) }

// source makes the run's source one of this package.
type source struct{ t *sched.Task }

func (s source) Int63() int64   { return int64(s.Uint64() >> 1) }
func (s source) Uint64() uint64 { return s.t.Rand().Uint64() }
func (s source) Seed(int64)     {}

// drawn returns the run's source; nil outside a run.
func drawn() *Rand {
	if t := sched.Here(); t != nil {
		return rand.New(source{t})
	}
	return nil
}

// Seed is rand.Seed. In a run it does nothing: what is drawn stays a choice of the run.
func Seed(seed int64) {
	if sched.Here() == nil {
		rand.Seed(seed) //lint:ignore SA1019 it is what the caller asked for
	}
}

// Read is rand.Read.
func Read(p []byte) (n int, err error) {
	if r := drawn(); r != nil {
		return r.Read(p)
	}
	return rand.Read(p) //lint:ignore SA1019 it is what the caller asked for
}

// Shuffle is rand.Shuffle.
func Shuffle(n int, swap func(i, j int)) {
	if r := drawn(); r != nil {
		r.Shuffle(n, swap)
		return
	}
	rand.Shuffle(n, swap)
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

// Int31 is rand.Int31.
func Int31() int32 {
	if r := drawn(); r != nil {
		return r.Int31()
	}
	return rand.Int31()
}

// Int31n is rand.Int31n.
func Int31n(n int32) int32 {
	if r := drawn(); r != nil {
		return r.Int31n(n)
	}
	return rand.Int31n(n)
}

// Int63 is rand.Int63.
func Int63() int64 {
	if r := drawn(); r != nil {
		return r.Int63()
	}
	return rand.Int63()
}

// Int63n is rand.Int63n.
func Int63n(n int64) int64 {
	if r := drawn(); r != nil {
		return r.Int63n(n)
	}
	return rand.Int63n(n)
}

// Intn is rand.Intn.
func Intn(n int) int {
	if r := drawn(); r != nil {
		return r.Intn(n)
	}
	return rand.Intn(n)
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

// Uint32 is rand.Uint32.
func Uint32() uint32 {
	if r := drawn(); r != nil {
		return r.Uint32()
	}
	return rand.Uint32()
}

// Uint64 is rand.Uint64.
func Uint64() uint64 {
	if r := drawn(); r != nil {
		return r.Uint64()
	}
	return rand.Uint64()
}
