package faults

import (
	"os"
	"testing"

	"github.com/poolproof/poolproof/pool/process"
)

// workerRole is the variable that makes the test binary, executed again, a worker; see
// TestMain.
const workerRole = "POOLPROOF_TEST_ROLE"

// goWorkers are workers that are this test binary, executed again.
func goWorkers(t *testing.T, role string) *process.Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &process.Config{Command: []string{self}, Env: []string{workerRole + "=" + role, "GORACE=atexit_sleep_ms=0"}}
}
