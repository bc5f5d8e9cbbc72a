package pooltest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

func TestConcurrentlyAchievesTheCapacity(t *testing.T) {
	const size = 3
	p, fakes := newPool(t, size, nil)
	all := pooltest.NewBarrier(size)
	result := pooltest.Concurrently(t, 2*size, 5, func(op *pooltest.Op) error {
		return p.Do(op.Context(), "", func(ctx context.Context, w *pooltest.Worker) (err error) {
			op.Hold(func() {
				err = w.Use(nil)
				if op.Number == 0 {
					err = errors.Join(err, all.Wait(ctx)) // needs size holders at once
				}
			})
			return err
		})
	})
	want := map[pooltest.Outcome]int{pooltest.Succeeded: 30}
	if !maps.Equal(result.Outcomes, want) || result.Total() != 30 || result.Held != size || result.Inside < size {
		t.Errorf("%v, want 30 successes and %d holders at once", result, size)
	}
	if peak := fakes.Books().Peak; peak != size {
		t.Errorf("%d workers at once, want %d", peak, size)
	}
}

func TestConcurrentlyCountsOutcomes(t *testing.T) {
	failure := errors.New("some failure")
	result := pooltest.Concurrently(t, 4, 1, func(op *pooltest.Op) error {
		switch op.Client {
		case 0:
			return failure
		case 1:
			panic("planned")
		case 2:
			runtime.Goexit()
		}
		return fmt.Errorf("wrapped: %w", pool.ErrClosed)
	})
	want := map[pooltest.Outcome]int{pooltest.Failed: 1, pooltest.Panicked: 1, pooltest.Exited: 1, pooltest.Closed: 1}
	if !maps.Equal(result.Outcomes, want) || !errors.Is(result.First[pooltest.Failed], failure) {
		t.Errorf("outcomes %v, want %v", result, want)
	}
	if text := result.String(); !strings.Contains(text, "1 failed (first: some failure)") {
		t.Errorf("text %q", text)
	}
}

func TestConcurrentlyNamesWhatHangs(t *testing.T) {
	stop := make(chan struct{})
	wantFailure(t, func(t testing.TB) {
		pooltest.Concurrently(t, 2, 1, func(op *pooltest.Op) error {
			if op.Client == 1 {
				<-stop // whatever the context says
			}
			return nil
		}, pooltest.Within(soon))
	}, "operations [1/0] have not ended soon after 50ms")
	close(stop)
}

func TestOutcomes(t *testing.T) {
	for want, err := range map[pooltest.Outcome]error{
		pooltest.Succeeded:      nil,
		pooltest.Saturated:      pool.ErrSaturated,
		pooltest.NotAvailable:   pool.ErrNotAvailable,
		pooltest.SessionLost:    pool.ErrSessionLost,
		pooltest.SessionLimit:   pool.ErrSessionLimit,
		pooltest.AcquireTimeout: pool.ErrAcquireTimeout,
		pooltest.StartFailed:    &pool.StartError{Err: context.Canceled},
		pooltest.WorkerFailed:   &pool.WorkerError{Err: errors.New("x")},
		pooltest.Panicked:       &pool.PanicError{},
		pooltest.Cancelled:      fmt.Errorf("x: %w", context.DeadlineExceeded),
		pooltest.Failed:         errors.New("x"),
	} {
		if got := pooltest.OutcomeOf(err); got != want {
			t.Errorf("outcome of %v: %s, want %s", err, got, want)
		}
	}
}

func TestBarrierHoldsUntilAllHaveCome(t *testing.T) {
	b := pooltest.NewBarrier(2)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("alone at the barrier: %v, want the context's cause", err)
	}
	for range 2 { // a barrier can be used again, and has forgotten the one that left
		var before atomic.Int64
		result := pooltest.Concurrently(t, 2, 1, func(op *pooltest.Op) error {
			before.Add(1)
			err := b.Wait(op.Context())
			if before.Load() != 2 {
				t.Errorf("went on when %d had come, want 2", before.Load())
			}
			return err
		})
		if result.Outcomes[pooltest.Succeeded] != 2 {
			t.Errorf("%v, want 2 successes", result)
		}
	}
}

func TestGaugeKeepsThePeak(t *testing.T) {
	var g pooltest.Gauge
	a, b := g.Enter(), g.Enter()
	a()
	a() // counts once
	c := g.Enter()
	b()
	c()
	if g.Peak() != 2 {
		t.Errorf("peak %d, want 2", g.Peak())
	}
}
