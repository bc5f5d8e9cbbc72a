package props_test

import (
	"testing"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/props"
)

// coveragePairs is how many pairs of an abstract state and an operation exist in that
// configuration. It changes only with the model.
const coveragePairs = 16384

// TestCoverage demands that random checks reach nine tenths of all pairs of an abstract
// state and an operation, and that directed ones reach the rest.
func TestCoverage(t *testing.T) {
	cfg := props.CoverageConfig()
	coverage, err := model.NewCoverage(cfg, model.Bounds{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(coverage.Report())
	target := props.PoolTarget{Name: "pool", Open: openReal, Config: cfg}
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
	if coverage.Total() != coveragePairs {
		t.Errorf("%d pairs exist, the golden number is %d", coverage.Total(), coveragePairs)
	}
}
