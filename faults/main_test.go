package faults_test

import (
	"context"
	"maps"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/faults"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// roleVariable makes the test binary, executed again, a worker or a host of workers.
const roleVariable = "POOLPROOF_TEST_ROLE"

func TestMain(m *testing.M) {
	methods := worker.Demo(nil)
	switch os.Getenv(roleVariable) {
	case "":
		goleak.VerifyTestMain(m)
	case "host":
		faults.PlayHost()
	case "liar": // answers what it was not asked
		methods["echo"] = worker.Func(func(_ context.Context, _ []uint64) ([]uint64, error) { return []uint64{1}, nil })
		worker.Main(methods, worker.DemoOptions()...)
	case "mischievous":
		maps.Copy(methods, worker.Mischief())
		fallthrough
	default:
		worker.Main(methods, worker.DemoOptions()...)
	}
}
