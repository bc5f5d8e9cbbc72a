package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// tabled is a pool of three workers, with the sessions a, b and c on one each.
type tabled struct {
	*pooltest.Pool[pool.WorkerID]
	t     *testing.T
	table *Table
	on    map[pool.SessionID]pool.WorkerID
}

func newTabled(t *testing.T, affinity pool.Affinity) tabled {
	t.Helper()
	p := tabled{t: t, on: map[pool.SessionID]pool.WorkerID{}, Pool: pooltest.New(t, pool.Config[pool.WorkerID]{
		Start:   func(_ context.Context, id pool.WorkerID) (pool.WorkerID, error) { return id, nil },
		MinSize: 3, MaxSize: 3, Affinity: affinity,
	})}
	pooltest.Warm(t, p.Pool, 3)
	table, err := OpenTable(p.Pool.Pool)
	if err != nil {
		t.Fatal(err)
	}
	p.table = table
	var leases []pool.Lease[pool.WorkerID]
	for _, id := range []pool.SessionID{"a", "b", "c"} {
		lease, err := p.AcquireSession(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		p.on[id] = lease.WorkerID()
		leases = append(leases, lease)
	}
	for _, lease := range leases {
		lease.Release()
	}
	return p
}

// kill has the worker of a session die, and another take its place.
func (p tabled) kill(id pool.SessionID) {
	p.t.Helper()
	p.Retire(p.on[id], errors.New("test"))
	pooltest.Warm(p.t, p.Pool, 3)
}

// lost demands that a Strict session is lost by its next use, and others are not.
func (p tabled) lost(ids ...pool.SessionID) {
	p.t.Helper()
	for _, id := range []pool.SessionID{"a", "b", "c"} {
		lease, err := p.AcquireSession(p.t.Context(), id)
		switch {
		case slices.Contains(ids, id):
			if !errors.Is(err, pool.ErrSessionLost) {
				p.t.Errorf("session %s: err %v, want ErrSessionLost", id, err)
			}
		case err != nil || lease.WorkerID() != p.on[id] || lease.Fresh():
			p.t.Errorf("session %s: err %v, want a lease of worker %d", id, err, p.on[id])
		}
		if err == nil {
			lease.Release()
		}
	}
}

// landed demands that evidence is what memory says and what was asked for.
func (p tabled) landed(o, want Overwritten, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	if o != want {
		p.t.Errorf("evidence: %v; want: %v", o, want)
	}
	ids, workers := p.table.Bound()
	if i := slices.Index(ids, o.Session); i < 0 || workers[i] != o.After {
		p.t.Errorf("%v; the table says: %v on %v", o, ids, workers)
	}
}

func TestTableSwaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTabled(t, pool.Strict)
		o, err := p.table.Swap("a", "b")
		p.landed(o[0], Overwritten{"a", p.on["a"], p.on["b"]}, err)
		p.landed(o[1], Overwritten{"b", p.on["b"], p.on["a"]}, err)
		p.lost("a", "b")
	})
}

func TestTablePointsAtTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTabled(t, pool.Strict)
		if o, err := p.table.PointAtDead("a"); !errors.Is(err, ErrNoDeadWorker) {
			t.Errorf("while nobody is dead: %v, %v", o, err)
		}
		p.kill("c")
		o, err := p.table.PointAtDead("a")
		p.landed(o, Overwritten{"a", p.on["a"], p.on["c"]}, err)
		p.lost("a", "c")
	})
}

func TestTablePointsAtTheLiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTabled(t, pool.Strict)
		for _, worker := range []pool.WorkerID{p.on["a"], 99} {
			if o, err := p.table.PointAt("a", worker); !errors.Is(err, ErrNoOtherWorker) {
				t.Errorf("at worker %d: %v, %v", worker, o, err)
			}
		}
		o, err := p.table.PointAt("a", p.on["b"])
		p.landed(o, Overwritten{"a", p.on["a"], p.on["b"]}, err)
		p.lost("a")
	})
}

// A fault that cannot land says so, and has changed nothing.
func TestTableSaysWhyNothingLanded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTabled(t, pool.Strict)
		rng := rand.New(rand.NewPCG(1, 2))
		swap := func(_ [2]Overwritten, err error) error { return err }
		point := func(_ Overwritten, err error) error { return err }
		is := func(got, want error) {
			t.Helper()
			if !errors.Is(got, want) {
				t.Errorf("err = %v, want %v", got, want)
			}
		}
		is(swap(p.table.Swap("a", "nobody")), ErrNotBound)
		is(swap(p.table.Swap("nobody", "a")), ErrNotBound)
		is(swap(p.table.Swap("a", "a")), ErrTooFewBound)
		is(point(p.table.PointAtDead("nobody")), ErrNotBound)
		is(point(p.table.PointAt("nobody", p.on["a"])), ErrNotBound)
		is(point(p.table.PointAnyAtDead(rng)), ErrNoDeadWorker)
		p.lost()
		p.EndSession("b")
		p.EndSession("c")
		is(swap(p.table.SwapAny(rng)), ErrTooFewBound)
		if err := p.Resize(1, 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		is(point(p.table.PointAnyAtLive(rng)), ErrNoOtherWorker)
		p.EndSession("a")
		is(point(p.table.PointAnyAtLive(rng)), ErrNotBound)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		is(swap(p.table.SwapAny(rng)), ErrTooFewBound)
		is(point(p.table.PointAnyAtDead(rng)), ErrNotBound)
	})
}

// The same seed on the same table hits the same targets, and all targets are hit in time.
func TestTableDrawsTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTabled(t, pool.Sticky)
		p.kill("c")
		lease, err := p.AcquireSession(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		p.on["c"] = lease.WorkerID()
		lease.Release()
		heal := func() {
			for id, worker := range p.on {
				if _, err := p.table.PointAt(id, worker); err != nil && !errors.Is(err, ErrNoOtherWorker) {
					t.Fatal(err)
				}
			}
		}
		draw := func(seed uint64) string {
			rng := rand.New(rand.NewPCG(seed, seed))
			both, err := p.table.SwapAny(rng)
			heal()
			dead, err2 := p.table.PointAnyAtDead(rng)
			heal()
			live, err3 := p.table.PointAnyAtLive(rng)
			heal()
			if err := errors.Join(err, err2, err3); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(both, dead, live)
		}
		seen := map[string]bool{}
		for seed := range uint64(100) {
			drawn := draw(seed)
			if again := draw(seed); again != drawn {
				t.Errorf("seed %d: %s, then %s", seed, drawn, again)
			}
			seen[drawn] = true
		}
		if most := 3 * 3 * 6; len(seen) < most/2 || len(seen) > most {
			t.Errorf("100 seeds made %d choices of the %d that there are", len(seen), most)
		}
		p.lost() // all is healed
	})
}

// Overwriting while the pool is in use is no race, and the pool loses nothing by it.
func TestTableUnderLoad(t *testing.T) {
	p := newTabled(t, pool.Sticky)
	rng := rand.New(rand.NewPCG(1, 2))
	done := make(chan struct{})
	var users sync.WaitGroup
	for _, id := range []pool.SessionID{"a", "b", "c", "d"} {
		users.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				lease, err := p.AcquireSession(t.Context(), id)
				if err != nil {
					t.Errorf("session %s: %v", id, err)
					return
				}
				lease.Release()
			}
		})
	}
	landed := 0
	for granted := p.Stat().Counts.Granted; p.Stat().Counts.Granted < granted+5000; {
		if _, err := p.table.SwapAny(rng); err == nil {
			landed++
		}
		if _, err := p.table.PointAnyAtLive(rng); err == nil {
			landed++
		}
	}
	close(done)
	users.Wait()
	if landed == 0 {
		t.Error("nothing landed")
	}
	for _, id := range []pool.SessionID{"a", "b", "c", "d"} {
		p.EndSession(id)
	}
	pooltest.WaitIdle(t, p.Pool, 3)
	if s := p.Stat(); s.Live() != 3 || s.Idle != 3 || s.Sessions != 0 || s.BoundSessions != 0 {
		t.Errorf("the counts are off: %+v", s)
	}
}

// A table that is not laid out as expected is refused, by the name of the field.
func TestTableKnowsItsLayout(t *testing.T) {
	type worker struct{ id pool.WorkerID }
	type session struct{ w *worker }
	type nameless struct{ ID pool.WorkerID }
	for _, tt := range []struct {
		field string
		pool  any
	}{
		{"mu", &struct{ st struct{} }{}},
		{"mu", &struct{ mu int }{}},
		{"st", &struct{ mu sync.Mutex }{}},
		{"st.live", &struct {
			mu sync.Mutex
			st struct{ live []worker }
		}{}},
		{"st.sessions", &struct {
			mu sync.Mutex
			st struct {
				live     []*worker
				sessions map[string]*session
			}
		}{}},
		{"st.live[].id", &struct {
			mu sync.Mutex
			st struct {
				live     []*nameless
				sessions map[pool.SessionID]*session
			}
		}{}},
		{"st.sessions[].w", &struct {
			mu sync.Mutex
			st struct {
				live     []*worker
				sessions map[pool.SessionID]*worker
			}
		}{}},
	} {
		_, err := openTable(reflect.ValueOf(tt.pool).Elem())
		var layout *LayoutError
		if !errors.As(err, &layout) || layout.Field != tt.field || !strings.Contains(err.Error(), tt.field) {
			t.Errorf("%T: err = %v, want one that names %s", tt.pool, err, tt.field)
		}
	}
	one, two := &worker{1}, &worker{2}
	var right struct {
		mu sync.Mutex
		st struct {
			live     []*worker
			sessions map[pool.SessionID]*session
		}
	}
	right.st.live = []*worker{one, two}
	right.st.sessions = map[pool.SessionID]*session{"a": {one}, "b": {two}}
	table, err := openTable(reflect.ValueOf(&right).Elem())
	if err != nil {
		t.Fatal(err)
	}
	_, err = table.Swap("a", "b")
	right.mu.Lock()
	defer right.mu.Unlock()
	if a, b := right.st.sessions["a"].w, right.st.sessions["b"].w; err != nil || a.id != 2 || b.id != 1 {
		t.Errorf("Swap = %v; a is on %v, b on %v", err, a, b)
	}
}
