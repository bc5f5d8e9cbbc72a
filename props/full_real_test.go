package props_test

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/props"
)

// slowBackend makes workers that take real time to start and to stop.
type slowBackend struct{}

func (slowBackend) Start(context.Context, pool.WorkerID) (any, error) {
	time.Sleep(200 * time.Microsecond)
	return new(int), nil
}

func (slowBackend) Stop(context.Context, any) error {
	time.Sleep(100 * time.Microsecond)
	return nil
}

func (slowBackend) Check(context.Context, any) error { return nil }
func (slowBackend) Kill(any) bool                    { return false }

// withChecks sets the number of rapid's checks for the rest of the test.
func withChecks(t *testing.T, n int) {
	f := flag.Lookup("rapid.checks")
	old := f.Value.String()
	t.Cleanup(func() { _ = f.Value.Set(old) })
	_ = f.Value.Set(fmt.Sprint(n))
}

// TestPoolInRealTime runs the machine outside a bubble, where rest is waited for.
func TestPoolInRealTime(t *testing.T) {
	withChecks(t, 10)
	props.VerifyPool(t, props.PoolTarget{Name: "real time", Open: props.OpenPool, Backend: slowBackend{}, RealTime: true})
}
