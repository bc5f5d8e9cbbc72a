package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// tableKit are the faults of the session table: swap-bindings exchanges those of two
// sessions, bind-dead ties one to a worker that is dead, bind-other to another live worker.
// They are for plans that aim at the pool.
func tableKit() Kit {
	return Kit{
		"swap-bindings": tableFault(func(t *Table, v *Victim) ([]Overwritten, error) {
			both, err := t.SwapAny(v.Rand)
			return both[:], err
		}),
		"bind-dead": tableFault(func(t *Table, v *Victim) ([]Overwritten, error) {
			o, err := t.PointAnyAtDead(v.Rand)
			return []Overwritten{o}, err
		}),
		"bind-other": tableFault(func(t *Table, v *Victim) ([]Overwritten, error) {
			o, err := t.PointAnyAtLive(v.Rand)
			return []Overwritten{o}, err
		}),
	}
}

// tableFault makes an injector that overwrites bindings of a pool of this module. Where the
// table does not allow it yet, as no session is bound, it is tried again while the fault may
// land. Seen: what was read back from memory after the write.
func tableFault(write func(*Table, *Victim) ([]Overwritten, error)) Injector {
	return InjectorFunc(func(_ context.Context, v *Victim) (*Injury, error) {
		t, err := v.System.openTable()
		if err != nil {
			return nil, err
		}
		return &Injury{Landed: func(ctx context.Context) (string, error) {
			for {
				written, err := write(t, v)
				if err == nil {
					return fmt.Sprint(written), nil
				}
				if !errors.Is(err, ErrNotBound) && !errors.Is(err, ErrTooFewBound) && !errors.Is(err, ErrNoDeadWorker) {
					return "", err
				}
				if !pause(ctx, tableRetry) {
					return "", err
				}
			}
		}}, nil
	})
}

// tableRetry is after how long a table is looked at again.
const tableRetry = 5 * time.Millisecond

// openTable returns the session table of the pool.
func (s *System) openTable() (*Table, error) {
	if t := s.table.Load(); t != nil {
		return t, nil
	}
	return nil, errors.New("the pool is none of package pool")
}

// noteWorkers has the table know the workers that live now, so that a binding can be pointed
// at one when it is dead.
func (s *System) noteWorkers(e pool.Event) {
	if t := s.table.Load(); t != nil && e.Kind == pool.WorkerStarted {
		t.Note()
	}
}
