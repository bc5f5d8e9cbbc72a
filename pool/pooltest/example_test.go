package pooltest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// A test of code that uses a pool: its workers are fakes, one of which dies.
func ExampleNew() {
	var t *testing.T // of the test function

	fakes := pooltest.NewFakes(t, 2)
	cfg := fakes.Config()
	cfg.MaxSize = 2
	p := pooltest.New(t, cfg) // closed and checked for leaks when the test ends

	ids := pooltest.Warm(t, p, 2)
	fakes.Kill(p, ids[0])
	err := p.Do(t.Context(), "", func(_ context.Context, w *pooltest.Worker) error { return w.Use(nil) })
	if err != nil {
		t.Errorf("one of two workers is dead: %v", err)
	}
}

// TestExampleNew runs what the example shows.
func TestExampleNew(t *testing.T) {
	fakes := pooltest.NewFakes(t, 2)
	cfg := fakes.Config()
	cfg.MaxSize = 2
	p := pooltest.New(t, cfg)
	ids := pooltest.Warm(t, p, 2)
	fakes.Kill(p, ids[0])
	if err := p.Do(t.Context(), "", func(_ context.Context, w *pooltest.Worker) error { return w.Use(nil) }); err != nil {
		t.Errorf("one of two workers is dead: %v", err)
	}
}

func ExampleOutcomeOf() {
	for _, err := range []error{nil, pool.ErrSaturated, fmt.Errorf("step 3: %w", context.Canceled)} {
		fmt.Println(pooltest.OutcomeOf(err))
	}
	// Output:
	// succeeded
	// saturated
	// cancelled
}
