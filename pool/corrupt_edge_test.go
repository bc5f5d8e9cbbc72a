package pool_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// A grant that its caller no longer wants is given back after the session has moved on and
// its binding was overwritten, with the very worker of that grant: it is not undone there.
func TestCorruptBindingIsNotUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick(2)
		cfg.Affinity = pool.Prefer
		p := pooltest.New(t, cfg)
		first, second := acquire(t, p, ""), acquire(t, p, "")
		var moved pool.Lease[pool.WorkerID]
		ctx := &lateContext{Context: context.Background(), late: func() {
			second.Release()
			moved = acquire(t, p, "a")
			p.Overwrite("a", p.Ref(first.WorkerID()), false)
		}}
		gone := make(chan error, 1)
		go func() {
			_, err := p.AcquireSession(ctx, "a")
			gone <- err
		}()
		synctest.Wait()
		first.Release()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Fatalf("the acquire whose context ended: %v", err)
		}
		p.MustHold()
		if moved.WorkerID() != second.WorkerID() {
			t.Errorf("session a moved to worker %d, want %d", moved.WorkerID(), second.WorkerID())
		}
		moved.Release()
		if lease := acquire(t, p, "a"); !lease.Fresh() {
			t.Error("session a has a binding still")
		} else {
			lease.Release()
		}
	})
}

// A binding is found corrupt while idle workers are matched with those who wait, after one
// was given back: its worker is told before anybody gets it.
func TestCorruptBindingIsToldBeforeAMatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick(1)
		cfg.Affinity = pool.Prefer
		var order []string
		cfg.SessionEnded = func(_ context.Context, _ pool.WorkerID, id pool.SessionID) error {
			order = append(order, "told of "+string(id))
			return nil
		}
		p := pooltest.New(t, cfg)
		acquire(t, p, "a").Release()
		held := acquire(t, p, "")
		done := make(chan struct{}, 2)
		park := func(id pool.SessionID) {
			go func() {
				lease, err := p.AcquireSession(t.Context(), id)
				if err != nil {
					t.Error(err)
				} else {
					order = append(order, "granted to "+string(id))
					lease.Release()
				}
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		ctx := &lateContext{Context: context.Background(), late: func() {
			park("a")
			park("b")
			p.Overwrite("a", nil, false)
		}}
		gone := make(chan error, 1)
		go func() {
			_, err := p.AcquireSession(ctx, "b")
			gone <- err
		}()
		synctest.Wait()
		held.Release()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Fatalf("the acquire whose context ended: %v", err)
		}
		<-done
		<-done
		if len(order) != 3 || order[0] != "told of a" {
			t.Errorf("in this order: %q; want the worker told of a first", order)
		}
		p.MustHold()
	})
}

// An unbound session that waits is given a binding to a busy worker by a stray write: it
// gets another worker, as ever, and has lost nothing.
func TestStrayBindingOfAWaiterIsTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick(2)
		cfg.MaxSessionsPerWorker = 1
		p := pooltest.New(t, cfg)
		bound := acquire(t, p, "a")
		busy := acquire(t, p, "")
		bound.Release()
		got := make(chan pool.Lease[pool.WorkerID], 1)
		go func() {
			lease, err := p.AcquireSession(t.Context(), "b")
			if err != nil {
				t.Error(err)
			}
			got <- lease
		}()
		synctest.Wait()
		if !p.Overwrite("b", p.Ref(busy.WorkerID()), false) {
			t.Fatal("b does not wait")
		}
		p.EndSession("a") // its worker has room now
		synctest.Wait()
		select {
		case lease := <-got:
			if !lease.Fresh() || lease.WorkerID() != bound.WorkerID() {
				t.Errorf("b got worker %d, fresh %t; want %d", lease.WorkerID(), lease.Fresh(), bound.WorkerID())
			}
			lease.Release()
			busy.Release()
		default:
			t.Error("b waits still")
			busy.Release()
			(<-got).Release()
		}
		p.MustHold()
	})
}
