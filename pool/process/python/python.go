// Package python holds the worker's side of docs/protocol.md for Python, and finds the
// interpreter that runs it. README.md is for those who write workers with it.
package python

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The names under which Write saves the files.
const (
	PackageDir = "poolproof_worker" // the package that a worker imports
	DemoFile   = "demo.py"
)

//go:embed poolproof_worker/*.py poolproof_worker/py.typed demo.py
var files embed.FS

// Files returns what Write saves: the package that a worker imports as poolproof_worker,
// under PackageDir, and the demo.
func Files() fs.FS { return files }

// Demo returns a worker with the methods of worker.Demo and worker.Mischief. It imports the package.
func Demo() string {
	demo, err := files.ReadFile(DemoFile)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(demo)
}

// Write saves the package and the demo in dir, which the caller owns, so that programs in
// dir can import the package. It replaces files of these names. The error is the file
// system's.
func Write(dir string) error {
	return fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(path))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		content, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o644)
	})
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

// ForkServerCommand returns a command, as Command does, that loads a program once and forks
// for each worker; docs/protocol.md says how, in the section Fork server. dir is where Write
// saved the package. args are names of modules to import before the program and, after an
// argument "--", the program's own. It must call run() under "if __name__ == '__main__'"
// only.
func ForkServerCommand(ctx context.Context, dir, program string, args ...string) ([]string, error) {
	server := filepath.Join(dir, PackageDir, "fork_server.py")
	return Command(ctx, append([]string{"-u", server, program}, args...)...)
}
