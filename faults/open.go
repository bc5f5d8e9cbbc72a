package faults

import (
	"context"
	"errors"
	"fmt"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// SystemConfig describes a system.
type SystemConfig struct {
	Name  string              // of its history
	Layer Layer               // what the workers are
	Pool  pool.Config[Worker] // sizes and times; the hooks are the system's
	// Workers says how processes, or workers behind a pipe, are started: for Process its
	// Command, for Wire its Dial. Nil for Memory.
	Workers *process.Config

	// forge, for tests, makes a pool that need not be one of package pool. It has hooks
	// and no Observer.
	forge func(cfg pool.Config[Worker]) (front, error)
}

// Open opens a system. Its owner closes the pool.
func Open(cfg SystemConfig) (*System, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := newSystem(cfg.Layer, &cfg.Pool)
	observer := cfg.Pool.Observer
	cfg.Pool.Observer = func(e pool.Event) {
		s.observe(e)
		if observer != nil {
			observer(e)
		}
	}
	if cfg.forge != nil {
		var err error
		if s.front, err = cfg.forge(s.fakes(cfg.Pool)); err != nil {
			return nil, err
		}
		s.opened()
		return s, nil
	}
	p, err := recorded.Take(cfg.Name, cfg.Pool, func(pc pool.Config[Worker]) (*pool.Pool[Worker], error) {
		if cfg.Layer == Memory {
			return pool.New(s.fakes(pc))
		}
		return s.openProcess(*cfg.Workers, pc)
	})
	if err != nil {
		return nil, err
	}
	s.Pool, s.front = p, recordedFront{p}
	s.opened()
	table, err := OpenTable(p.Pool)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	s.table.Store(table)
	return s, nil
}

// check reports every complaint about a system.
func (cfg *SystemConfig) check() error {
	var errs []error
	if cfg.Pool.MaxSize < 1 {
		errs = append(errs, fmt.Errorf("faults: SystemConfig.Pool.MaxSize is %d; it must be at least 1", cfg.Pool.MaxSize))
	}
	switch cfg.Layer {
	case Memory:
		if cfg.Workers != nil {
			errs = append(errs, errors.New("faults: SystemConfig.Workers is set; fakes in memory are not started by it"))
		}
	case Wire, Process:
		if cfg.Workers == nil {
			errs = append(errs, fmt.Errorf("faults: SystemConfig.Workers is nil; layer %s needs it", cfg.Layer))
		}
	default:
		errs = append(errs, fmt.Errorf("faults: SystemConfig.Layer is %q; want %q, %q or %q", cfg.Layer, Memory, Wire, Process))
	}
	return errors.Join(errs...)
}

// fakes returns the configuration of a pool of fakes.
func (s *System) fakes(cfg pool.Config[Worker]) pool.Config[Worker] {
	made := make(chan struct{}) // closed when s.front is set
	cfg.Start = func(ctx context.Context, id pool.WorkerID) (Worker, error) {
		if err := s.starts.meet(ctx, id); err != nil {
			return nil, err
		}
		f := newFake(id, func(id pool.WorkerID, cause error) {
			<-made
			s.front.Retire(id, cause)
		})
		s.hello(f)
		return f, nil
	}
	cfg.Stop = func(_ context.Context, w Worker, _ error) error {
		s.gone(w.ID())
		w.(*fake).stop()
		return nil
	}
	cfg.Check = func(ctx context.Context, w Worker) error { return w.Ping(ctx) }
	cfg.Usable = func(w Worker) bool { return w.(*fake).usable() }
	cfg.SessionEnded = func(ctx context.Context, w Worker, id pool.SessionID) error {
		return w.(*fake).sessionEnded(ctx, id)
	}
	s.opened = func() { close(made) }
	return cfg
}

// openProcess opens a pool of workers that speak the protocol.
func (s *System) openProcess(workers process.Config, cfg pool.Config[Worker]) (*pool.Pool[Worker], error) {
	workers, err := s.starts.gate.gated(workers)
	if err != nil {
		return nil, err
	}
	if workers.Wrap != nil {
		return nil, errors.New("faults: SystemConfig.Workers.Wrap is set; the system sets it")
	}
	s.links.FrameLimit, s.links.Opened = workers.FrameLimit, s.opens
	workers.Wrap = s.links.Wrap
	as := func(w *process.Worker) Worker {
		s.hello(w)
		return w
	}
	return process.NewPoolOf(workers, cfg, as, func(w Worker) *process.Worker { return w.(*process.Worker) })
}
