package props_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/props"
)

// TestCoverage demands that random checks reach nine tenths of all pairs of an abstract
// state and an operation, and that directed ones reach the rest. How many pairs exist is in
// testdata/coverage.txt; it changes only with the model.
func TestCoverage(t *testing.T) {
	cfg := props.CoverageConfig()
	coverage, err := model.NewCoverage(cfg, model.Bounds{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(coverage.Report())
	target := props.PoolTarget{Name: "pool", Open: props.OpenPool, Config: cfg}
	const checks = 20_000
	props.Cover(t, target, coverage, checks, 1)
	random := coverage.Reached()
	t.Logf("%d of %d pairs after %d random checks", random, coverage.Total(), checks)
	if random*10 < coverage.Total()*9 {
		t.Errorf("random checks reach %d of %d pairs, want nine tenths", random, coverage.Total())
	}
	left := props.CoverMissing(t, target, coverage)
	t.Logf("%d of %d pairs after directed ones", coverage.Reached(), coverage.Total())
	for _, pair := range left {
		t.Errorf("not reached: %v", pair)
	}
	golden, err := os.ReadFile("testdata/coverage.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%d pairs exist\n", coverage.Total()); got != string(golden) {
		t.Errorf("got %q, testdata/coverage.txt has %q", got, golden)
	}
}
