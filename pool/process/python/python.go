// Package python holds the worker's side of docs/protocol.md for Python, and finds the
// interpreter that runs it.
package python

import (
	"context"
	_ "embed" // for the worker's source
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The names under which Write saves the files.
const (
	LibraryFile = "poolproof_worker.py"
	DemoFile    = "demo.py"
)

//go:embed poolproof_worker.py
var library string

//go:embed demo.py
var demo string

// Source returns the library that a worker imports as poolproof_worker. Run by itself it
// is a worker whose only method is echo.
func Source() string { return library }

// Demo returns a worker with the methods of worker.Demo. It imports the library.
func Demo() string { return demo }

// Write saves the library and the demo in dir, which the caller owns, so that programs in
// dir can import the library. It replaces files of these names. The error is the file
// system's.
func Write(dir string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, LibraryFile), []byte(library), 0o644),
		os.WriteFile(filepath.Join(dir, DemoFile), []byte(demo), 0o644),
	)
}

// Command returns a command that runs the python3 in PATH with args, for
// process.Config.Command. It asks python3 where the real interpreter is, so that each
// worker is spared the version manager's shim that PATH may lead to; so it blocks for a
// moment, and should be called once for all workers. ctx bounds it. The error says why
// python3 could not be found or run.
//
// Among the args -u is advisable, as it makes what a worker prints appear at once. Where a
// worker needs the standard library alone, as the demo does, -S and -E make it start in
// half the time: it then looks for no other packages and heeds no PYTHON variables.
func Command(ctx context.Context, args ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "python3", "-S", "-E", "-c", "import sys; print(sys.executable)")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("python: finding the interpreter: %w", err)
	}
	interpreter := strings.TrimSpace(string(out))
	if interpreter == "" {
		return nil, errors.New("python: python3 does not know its own path")
	}
	return append([]string{interpreter}, args...), nil
}
