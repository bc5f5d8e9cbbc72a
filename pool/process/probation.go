package process

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// earlyDeath is how soon after its start a worker that has served nothing must end for
	// its successors to be put on probation.
	earlyDeath = time.Second
	// probationTime is how long a worker on probation must live before it counts as started.
	probationTime = 250 * time.Millisecond
)

// probation keeps a pool from replacing, without pause and for ever, workers that answer
// hello and then die of themselves, as where the model that they go on to load is broken. A
// pool backs off from failed starts only; so, after an early death, a start succeeds no
// sooner than its worker has outlived probationTime, and fails if it dies before.
type probation struct{ on atomic.Bool }

// died takes the news of a worker's end.
func (p *probation) died(w *Worker) {
	if time.Since(w.ready) < earlyDeath && !w.conn.hasServed() {
		p.on.Store(true)
	}
}

// prove returns the worker once it counts as started. On failure nothing of it is left, or
// only as long as Worker.Stop says.
func (p *probation) prove(ctx context.Context, w *Worker) (*Worker, error) {
	if !p.on.Load() {
		return w, nil
	}
	timer := time.NewTimer(probationTime)
	defer timer.Stop()
	var cause error
	select {
	case <-timer.C:
		p.on.Store(false)
		return w, nil
	case <-w.conn.broken:
		cause = w.explain(ctx, w.conn.failure())
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	return nil, fmt.Errorf("process: worker %d on probation: %w", w.id, errors.Join(cause, w.Stop(ctx)))
}
