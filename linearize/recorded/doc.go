// Package recorded has tests record what their pools' callers see, and judges it.
//
// [Open] opens a pool of package pool, or of process workers, of which every call is taken
// down; when the test ends the history is judged:
//
//	p, err := recorded.Open(t, cfg, func(cfg pool.Config[*Worker]) (*pool.Pool[*Worker], error) {
//		return process.NewPool(workers, cfg)
//	})
//
// The [Pool] that it returns has all methods of pool.Pool, and its leases are pool.Leases; it
// can be a layer of package fallback and what a process.Client calls.
//
// A [Keeper] does the same for those who record by themselves: it writes each history to a
// file before it is judged, and if it is not sound leaves the file, its page, and porcupine's,
// and says their names.
package recorded
