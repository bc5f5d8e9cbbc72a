package faults_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/pool/process/worker"
)

// roleVariable makes the test binary, executed again, a worker.
const roleVariable = "POOLPROOF_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		worker.Main(worker.Demo(nil), worker.DemoOptions()...)
	}
	goleak.VerifyTestMain(m)
}
