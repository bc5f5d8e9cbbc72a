// Package fallback chains pools behind circuit breakers: a call goes to the first layer
// that can serve it, and its result says which one that was, which ones were passed over,
// and why.
//
//	chain, err := fallback.New(fallback.Config[*process.Worker]{
//		Layers: []fallback.Layer[*process.Worker]{
//			{Name: "gpu", Pool: gpu, Breaker: fallback.Breaker{FailuresInRow: 3, OpenFor: 10 * time.Second}},
//			{Name: "cpu", Pool: cpu},
//		},
//		SessionTTL: 10 * time.Minute, // as that of the pools
//		Broken:     func(err error) bool { return errors.Is(err, process.ErrBroken) },
//	})
//	...
//	served, err := chain.Do(ctx, "user-42", func(ctx context.Context, w *process.Worker) error {
//		return w.Call(ctx, "generate", request, &answer)
//	})
//	log.Info("answered", "layer", served.Layer, "passed over", served.Passed)
//
// # When a call moves on
//
// A layer is passed over when its breaker is open, or half-open with every probe out; when
// its pool is closed (pool.ErrClosed) or saturated (pool.ErrSaturated); when its start
// failed (*pool.StartError); and when the acquire ran into the pool's own AcquireTimeout.
// Nothing else moves a call: not the end of the caller's own context, not an error that
// the caller's function returned, not pool.ErrSessionLost or pool.ErrSessionLimit. The
// function runs at most once for a call, except in DoIdempotent, which goes on to the next
// layer after a worker has broken.
//
// # Breakers
//
//	         failures reach the limit              OpenFor has passed
//	closed --------------------------------> open --------------------> half-open
//	   ^                                       ^                          |     |
//	   |                                       +------- a probe fails ----+     |
//	   +------------------------------------- Probes in a row succeed ----------+
//
// A call's outcome is a failure of its layer if the pool is closed, a start failed, the
// pool's AcquireTimeout passed, Config.Broken says so of the function's error, or the
// function panicked or ended its goroutine. It is a success if the function returned nil,
// or an error which Config.Broken says is none of the worker's. It is neither if the
// caller's context had ended, and for every other refusal: a saturated pool works. Nor does
// AcquireTimeout tell anything of a layer that holds the call's session: the session's own
// worker may be busy with it.
//
// A probe that is neither gives its place to the next call; one that is out for
// ProbeTimeout does so too, though its outcome counts when it comes. So a half-open
// breaker always lets somebody find out, whatever became of those who tried before.
// Every transition depends on calls and the clock alone: the package has no goroutine.
//
// # Sessions
//
// A session is bound to one layer, by its first grant. The binding ends with EndSession,
// or SessionTTL after the session last had a lease or asked the layer's pool for one;
// then the layer's pool is told EndSession. Config.Affinity says when it may change before:
//
//   - pool.Strict: never. While its layer cannot serve, its calls fail with
//     ErrSessionHeld. If the layer's pool is closed, so that what it knew is gone for good,
//     the error wraps pool.ErrSessionLost too.
//   - pool.Sticky: when its layer is down: passed over for any reason but being busy,
//     which is to be saturated or to time an acquire out. Then its calls fail with ErrSessionHeld.
//   - pool.Prefer: when its layer is passed over.
//
// A session that moves is bound to the new layer, Served.Moved says so, and the old
// layer's pool is told EndSession; calls of the session that want that pool wait meanwhile. It stays there when the old layer recovers: it does
// not go to and fro. A new session, and a call without one, begins at the first layer, so
// traffic returns as soon as a probe has succeeded; a session that was moved returns when it
// has ended and begins anew.
//
// The table of sessions has an entry for each that is bound or is being served just then,
// at most Config.MaxSessions. An entry that has expired is dropped by the next call of any
// method and counts as absent from the moment it expired. Without SessionTTL and
// MaxSessions only EndSession bounds the table.
//
// # Concurrency
//
// All methods may be called by any goroutine at any time. The chain does not own its
// pools: who made them closes them. A hook of a layer's pool that waits for a call on the
// chain may wait for ever.
package fallback
