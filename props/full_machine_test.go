package props_test

import (
	"strings"
	"testing"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
	"github.com/poolproof/poolproof/props"
)

// TestHuntFindsNothing demands that a correct pool passes where broken ones do not.
func TestHuntFindsNothing(t *testing.T) {
	for name, open := range map[string]func(pool.Config[*props.FullWorker]) (props.Subject, error){
		"pool": props.OpenPool, "plain": openPlain(broken.None),
	} {
		if f := props.Hunt(t, props.PoolTarget{Name: name, Open: open}, 200); f.Subtest != "" {
			t.Errorf("%s: %s: %s\n%s", name, f.Subtest, f.Message, f.Script)
		}
	}
}

// TestHuntShrinks demands the shortest script for a pool that starts too many workers.
func TestHuntShrinks(t *testing.T) {
	cfg := &model.Config{MaxSize: 1, BackoffMin: 1, Clients: 2, Sessions: 1}
	f := props.Hunt(t, props.PoolTarget{Name: "starts-over-max", Open: openPlain(broken.StartsOverMax), Config: cfg}, 2000)
	if f.Subtest != "Sequential" || f.Rule != "I2" || f.Length != 2 {
		t.Fatalf("found by %s: %s after %d checks, script of %d:\n%s", f.Subtest, f.Message, f.Checks, f.Length, f.Script)
	}
	_, trace, ok := strings.Cut(f.Script, "trace:\n")
	if !ok || !strings.Contains(trace, "config MaxSize=1") {
		t.Fatalf("the script has no trace:\n%s", f.Script)
	}
	// The trace replays, as far as the fault, on the correct pool.
	got := props.ReplayTrace(t, props.PoolTarget{Name: "pool", Open: props.OpenPool}, trace)
	if !strings.Contains(got, "acquire client=2") {
		t.Errorf("the trace is not replayed:\n%s", got)
	}
}
