package sched_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/poolproof/poolproof/sched"
	"github.com/poolproof/poolproof/sched/shim/lang"
	"github.com/poolproof/poolproof/sched/shim/sync"
)

// BenchmarkRun is one scheduled check: three clients who take the only worker of a pool
// twice each. Plain, there are points in the clients alone; instrumented, the pool has
// points as the rewriter would place them.
func BenchmarkRun(b *testing.B) {
	for name, body := range map[string]func(*sched.Scheduler) error{"plain": plainClients, "instrumented": instrumentedClients} {
		b.Run(name, func(b *testing.B) {
			steps := 0
			inTest(b, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(1, 1))
				for b.Loop() {
					var r *sched.Result
					synctest.Test(t, func(*testing.T) {
						r = sched.Run(sched.Options{Strategy: sched.NewDrawn(func(_ string, n int) int { return rng.IntN(n) })}, body)
					})
					if r.Finding != nil {
						t.Fatal(r.Finding)
					}
					steps += r.Steps
				}
			})
			b.ReportMetric(float64(steps)/float64(b.N), "steps/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "checks/s")
		})
	}
}

// BenchmarkExhaust is one schedule of an exhaustive search.
func BenchmarkExhaust(b *testing.B) {
	inTest(b, func(t *testing.T) {
		e := sched.NewExhaustive(2)
		for b.Loop() {
			if !e.Next() {
				e = sched.NewExhaustive(2)
				e.Next()
			}
			if r := sched.Test(t, sched.Options{Strategy: e, IdleTimeOnly: true}, instrumentedClients); r.Finding != nil {
				t.Fatal(r.Finding)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "schedules/s")
}

// inTest runs fn as a test, which a bubble needs.
func inTest(b *testing.B, fn func(t *testing.T)) {
	b.Helper()
	every := func(string, string) (bool, error) { return true, nil }
	name, _, _ := strings.Cut(b.Name(), "/")
	if !testing.RunTests(every, []testing.InternalTest{{Name: name, F: fn}}) {
		b.Fatal("the test failed")
	}
}

// clients take, hold and give back.
func clients(s *sched.Scheduler, acquire func(context.Context) error, release func()) error {
	work := func() {
		for range 2 {
			sched.Point("acquire")
			if acquire(context.Background()) != nil {
				return
			}
			sched.Point("hold")
			release()
			sched.Point("released")
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		s.Go(name, work)
	}
	return nil
}

func plainClients(s *sched.Scheduler) error {
	tokens := make(chan bool, 1)
	tokens <- true
	return clients(s, func(ctx context.Context) error {
		select {
		case <-tokens:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, func() { tokens <- true })
}

func instrumentedClients(s *sched.Scheduler) error {
	p := &bench{free: 1}
	return clients(s, p.acquire, p.release)
}

// bench is a pool of tokens with a queue, as the rewriter would leave it.
type bench struct {
	mu      sync.Mutex
	free    int
	waiting []chan bool
}

func (p *bench) acquire(ctx context.Context) error {
	p.mu.Lock()
	if p.free > 0 {
		p.free--
		p.mu.Unlock()
		return nil
	}
	w := make(chan bool, 1)
	p.waiting = append(p.waiting, w)
	p.mu.Unlock()
	granted, cancelled := lang.OnReceive(w), lang.OnReceive(ctx.Done())
	lang.Select(false, func(kill <-chan struct{}) int {
		select {
		case <-granted.C:
			return 0
		case <-cancelled.C:
			return 1
		case <-kill:
			return lang.Killed
		}
	}, granted, cancelled)
	return ctx.Err()
}

func (p *bench) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.free++
		return
	}
	w := p.waiting[0]
	p.waiting = p.waiting[1:]
	lang.Send(w)(true)
}
