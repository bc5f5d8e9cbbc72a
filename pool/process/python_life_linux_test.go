package process_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/pool/process"
)

// hungry is a Python worker that takes memory when it is told to.
const hungry = `from poolproof_worker import method, run

@method
def take(size: int) -> int:
    return len(bytearray(size))

if __name__ == "__main__":
    run()
`

// TestPythonSeesAMemoryErrorBeyondItsAddressSpace has the error reply keep the worker.
func TestPythonSeesAMemoryErrorBeyondItsAddressSpace(t *testing.T) {
	const limit = 1 << 30
	checkLeftovers(t)
	plain := pythonConfig(t, hungry)
	plain.AddressSpace = limit
	for name, cfg := range map[string]process.Config{
		"plain":  plain,
		"forked": pythonForkConfig(t, hungry, func(cfg *process.ForkConfig) { cfg.AddressSpace = limit }),
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, cfg)
			var remote *process.RemoteError
			if err := w.Call(t.Context(), "take", []int{2 * limit}, nil); !errors.As(err, &remote) || !strings.Contains(remote.Message+remote.Traceback(), "MemoryError") {
				t.Errorf("got %v, want a *RemoteError because of a MemoryError", err)
			}
			var got int
			if err := w.Call(t.Context(), "take", []int{limit / 16}, &got); err != nil || got != limit/16 {
				t.Errorf("within the limit: got %d, error %v", got, err)
			}
		})
	}
}

// TestExitForWantOfAddressSpaceShowsInTheOutput has a program that does not catch the error
// wait for its limit, and run into it before hello.
func TestExitForWantOfAddressSpaceShowsInTheOutput(t *testing.T) {
	cfg := pythonConfig(t, `import resource
while resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
    pass
model = bytearray(1 << 31)
`)
	checkLeftovers(t)
	cfg.AddressSpace = 1 << 30
	_, err := process.Start(t.Context(), cfg, 1)
	var exit *process.ExitError
	if !errors.As(err, &exit) || exit.Kind != process.ExitCode || exit.Code != 1 || !strings.HasSuffix(exit.Output, "MemoryError\n") {
		t.Errorf("got %v, want exit code 1 with a MemoryError as the last words", err)
	}
}
