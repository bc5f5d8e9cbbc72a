// Package layers_test runs one table of scenarios over workers of every kind: in memory,
// over a pipe in memory, and as processes in Go, Python and JavaScript. What a scenario
// sees is written down as a transcript, which must be the same on each layer and the same
// as in testdata/transcripts.txt.
package layers_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// roleVariable makes the test binary, executed again, a worker.
const roleVariable = "POOLPROOF_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		worker.Main(methods(os.Exit), worker.DemoOptions()...)
	}
	goleak.VerifyTestMain(m)
}

// stretch is the params of the methods that testdata/worker.py has too.
type stretch struct {
	N    int `json:"n"`
	Code int `json:"code"`
}

// methods returns the demo's methods and more ways for a stream to go. exit ends the worker.
func methods(exit func(code int)) map[string]worker.Method {
	all := worker.Demo(exit)
	all["falter"] = worker.StreamFunc(func(_ context.Context, p stretch, out *worker.Emitter) (bool, error) {
		if err := emit(p.N, out); err != nil {
			return false, err
		}
		return false, &process.RemoteError{Code: p.Code, Message: "faltered"}
	})
	all["die"] = worker.StreamFunc(func(_ context.Context, p stretch, out *worker.Emitter) (bool, error) {
		if err := emit(p.N, out); err != nil {
			return false, err
		}
		exit(p.Code)
		return true, nil
	})
	log := slog.New(worker.NewLogHandler(slog.LevelInfo))
	all["narrate"] = worker.StreamFunc(func(ctx context.Context, p stretch, out *worker.Emitter) (int, error) {
		for i := range p.N {
			log.InfoContext(ctx, fmt.Sprint("chunk ", i))
			if err := out.Value(i); err != nil {
				return i, err
			}
		}
		return p.N, nil
	})
	all["noise"] = worker.Func(func(_ context.Context, p struct {
		Bytes int `json:"bytes"`
	},
	) (bool, error) {
		const junk = "\x00\x00\x00\x02{}\n"
		for range p.Bytes / len(junk) {
			fmt.Fprint(os.Stdout, junk)
			fmt.Fprint(os.Stderr, junk)
		}
		return true, nil
	})
	return all
}

// emit sends the numbers below n.
func emit(n int, out *worker.Emitter) error {
	for i := range n {
		if err := out.Value(i); err != nil {
			return err
		}
	}
	return nil
}
