package process

import (
	"context"
	"errors"

	"github.com/poolproof/poolproof/pool"
)

// NewPool makes a pool of the workers that cfg describes. It fills Start and Stop of the
// pool's configuration, which must be nil, and Check, Usable and SessionEnded, after which
// the configuration's own hooks of these names run if they are set. A worker that exits or
// breaks is retired at once; then cfg.OnExit is told. Unless cfg.Logger is set, output is
// logged to poolCfg.Logger.
//
// A worker that answers hello but ends of itself within a second, having served nothing, is
// near to one that does not start. After such a death a new worker counts as started only
// when it has lived for 250 ms, until one has; one that does not is a failed start, so the
// pool backs off.
//
// NewPool does not block, and starts nothing if it fails. The caller owes the pool a Close
// or Shutdown, which ends all processes.
func NewPool(cfg Config, poolCfg pool.Config[*Worker]) (*pool.Pool[*Worker], error) {
	same := func(w *Worker) *Worker { return w }
	return NewPoolOf(cfg, poolCfg, same, same)
}

// NewPoolOf is NewPool for a pool whose workers are something else than *Worker, such as
// an interface that other pools' workers have too, so that a fallback.Chain can have them
// all. as makes the pool's worker of each that has started, and of returns the *Worker that
// as was given. Both are called by any goroutine and must not block.
func NewPoolOf[T any](cfg Config, poolCfg pool.Config[T], as func(*Worker) T, of func(T) *Worker) (*pool.Pool[T], error) {
	if cfg.Logger == nil {
		cfg.Logger = poolCfg.Logger
	}
	cfg = cfg.withDefaults()
	err := cfg.validate()
	if poolCfg.Start != nil || poolCfg.Stop != nil {
		err = errors.Join(err, errors.New("process: Start or Stop of the pool's configuration is set; NewPool sets them"))
	}
	if err != nil {
		return nil, err
	}
	// A worker may exit before pool.New has returned, so its news waits for the pool.
	var p *pool.Pool[T]
	made := make(chan struct{})
	onExit := cfg.OnExit
	cfg.OnExit = func(id pool.WorkerID, cause error) {
		<-made
		p.Retire(id, cause)
		if onExit != nil {
			onExit(id, cause)
		}
	}
	var trial probation
	cfg.died = trial.died
	poolCfg.Start = func(ctx context.Context, id pool.WorkerID) (worker T, err error) {
		w, err := Start(ctx, cfg, id)
		if err == nil {
			w, err = trial.prove(ctx, w)
		}
		if err != nil {
			return worker, err
		}
		return as(w), nil
	}
	poolCfg.Stop = func(ctx context.Context, worker T, _ error) error { return of(worker).Stop(ctx) }
	addHooks(&poolCfg, of, func(w *Worker, cause error) { p.Retire(w.ID(), cause) })
	if p, err = pool.New(poolCfg); err != nil {
		return nil, err
	}
	close(made)
	return p, nil
}

// addHooks puts the worker's own answers before those of the hooks that are set.
func addHooks[T any](cfg *pool.Config[T], of func(T) *Worker, retire func(*Worker, error)) {
	check, usable, sessionEnded := cfg.Check, cfg.Usable, cfg.SessionEnded
	cfg.Check = func(ctx context.Context, worker T) error {
		if err := of(worker).Ping(ctx); err != nil || check == nil {
			return err
		}
		return check(ctx, worker)
	}
	cfg.Usable = func(worker T) bool {
		w := of(worker)
		if over := w.resident.exceeded(); over != nil {
			retire(w, over) // which stops it at this very release, for this cause
			return true
		}
		return w.Usable() && (usable == nil || usable(worker))
	}
	cfg.SessionEnded = func(ctx context.Context, worker T, id pool.SessionID) error {
		if err := of(worker).EndSession(ctx, id); err != nil || sessionEnded == nil {
			return err
		}
		return sessionEnded(ctx, worker, id)
	}
}
