package fallback_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
)

// Under load layers fail and heal; what the chain promises to sessions holds, and in the
// end traffic has returned and nothing is left.
func TestTransitionsUnderLoad(t *testing.T) {
	for _, affinity := range []pool.Affinity{pool.Strict, pool.Sticky, pool.Prefer} {
		t.Run(affinity.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { load(t, affinity) })
		})
	}
}

func load(t *testing.T, affinity pool.Affinity) {
	layers := []*gatedLayer{newGated(t, "A"), newGated(t, "B"), newGated(t, "C")}
	cfg := fallback.Config[worker]{Affinity: affinity}
	for _, l := range layers {
		cfg.Layers = append(cfg.Layers, fallback.Layer[worker]{Name: l.name, Pool: l, Breaker: fallback.Breaker{
			FailureRatio: 0.5, MinCalls: 4, Window: 10 * time.Second, OpenFor: 2 * time.Second, Probes: 2,
		}})
	}
	c, err := fallback.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	var chaos sync.WaitGroup
	for i, l := range layers {
		rng := rand.New(rand.NewPCG(uint64(affinity), uint64(i)))
		chaos.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Duration(rng.IntN(10)) * time.Second):
					l.set([]answer{grants, grants, grants, grants, closed, saturated, failsToStart, timesOut}[rng.IntN(8)])
				}
			}
		})
	}
	var calls sync.WaitGroup
	var served, refused, moved atomic.Int64
	for s := range 6 {
		calls.Go(func() {
			for round := range 40 {
				id := pool.SessionID(fmt.Sprint("session ", s))
				at := sessionRound(t, c, id, affinity, uint64(1000*s+round), &served, &refused, &moved)
				if affinity == pool.Strict && len(at) > 1 {
					t.Errorf("strict %s was served by %v without an end", id, at)
				}
				c.EndSession(id)
			}
		})
	}
	calls.Wait()
	close(over)
	chaos.Wait()
	for _, l := range layers {
		l.set(grants)
	}
	time.Sleep(2 * time.Minute)
	for range 2 { // probes
		if got, err := c.Do(t.Context(), "s", returning(nil)); err != nil || got.Layer != "A" {
			t.Errorf("after healing: %+v, %v; want layer A", got, err)
		}
	}
	if got := c.Stat().Layers[0].State; got != fallback.Closed {
		t.Errorf("after healing layer A is %v, want closed", got)
	}
	c.EndSession("s")
	asked := 0
	for _, l := range layers {
		asked += l.asked
	}
	t.Logf("%d served, %d refused, %d moved, pools asked %d times", served.Load(), refused.Load(), moved.Load(), asked)
	if served.Load() < 1000 || refused.Load() < 100 || (moved.Load() >= 5) != (affinity != pool.Strict) {
		t.Errorf("too little happened: %d served, %d refused, %d moved", served.Load(), refused.Load(), moved.Load())
	}
	nothingLeft(t, c, layers...)
	// Calls of one session that spoil each other's grants must not do so for ever.
	if calls := served.Load() + refused.Load(); int64(asked) > 4*calls {
		t.Errorf("%d calls asked pools %d times", calls, asked)
	}
}

// sessionRound runs calls of one session at once, and returns the layers that served them.
func sessionRound(t *testing.T, c *fallback.Chain[worker], id pool.SessionID, affinity pool.Affinity, seed uint64, served, refused, moved *atomic.Int64) map[string]bool {
	var mu sync.Mutex
	at := map[string]bool{}
	var calls sync.WaitGroup
	for i := range 4 {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		calls.Go(func() {
			for range 4 {
				var runs atomic.Int64
				s, err := c.Do(t.Context(), id, func(context.Context, worker) error {
					runs.Add(1)
					time.Sleep(time.Duration(rng.IntN(3)) * time.Second)
					if rng.IntN(10) == 0 {
						return errBroken
					}
					return nil
				})
				if affinity != pool.Strict && rng.IntN(10) == 0 {
					c.EndSession(id) // among calls of it
				}
				if ran := runs.Load(); ran > 1 || (ran == 1) != (s.Layer != "") {
					t.Errorf("the function ran %d times, served %+v, %v", ran, s, err)
				}
				if s.Layer == "" {
					refused.Add(1)
					time.Sleep(time.Second)
					continue
				}
				served.Add(1)
				if s.Moved {
					moved.Add(1)
				}
				mu.Lock()
				at[s.Layer] = true
				mu.Unlock()
			}
		})
	}
	calls.Wait()
	return at
}
