package props_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
	"github.com/poolproof/poolproof/props"
)

// updateTraces rewrites the traces with what the pool does. Read the diff.
var updateTraces = flag.Bool("update", false, "rewrite testdata/traces with what the pool does")

// TestTraces replays every story in testdata/traces on the pool and on the plain one.
func TestTraces(t *testing.T) {
	files, err := filepath.Glob("../testdata/traces/*.txt")
	if err != nil || len(files) < 15 {
		t.Fatalf("found %d traces, want at least 15 (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for name, open := range map[string]func(pool.Config[*props.FullWorker]) (props.Subject, error){
				"pool": props.OpenPool, "plain": openPlain(broken.None),
			} {
				got := props.ReplayTrace(t, props.PoolTarget{Name: name, Open: open}, string(want))
				if *updateTraces && name == "pool" {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
					continue
				}
				// The plain pool may choose otherwise where the choice is free.
				if name == "pool" && got != string(want) {
					t.Errorf("the trace has changed; now it is\n%s", got)
				}
			}
		})
	}
}
