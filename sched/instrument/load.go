package instrument

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// listed is what the go command says of a package.
type listed struct {
	ImportPath string
	Dir        string
	ForTest    string
	Standard   bool
	GoFiles    []string
	CgoFiles   []string
	ImportMap  map[string]string
	Export     string
	Module     *module
}

// module is what it says of a module.
type module struct {
	Path      string
	Version   string
	Dir       string
	Main      bool
	GoVersion string
	Replace   *module
}

// fields are the fields of listed, as go list wants them named.
const fields = "ImportPath,Dir,ForTest,Standard,GoFiles,CgoFiles,ImportMap,Export,Module"

// path is the import path, without the name of the test binary it is compiled for.
func (l *listed) path() string {
	path, _, _ := strings.Cut(l.ImportPath, " ")
	return path
}

// goCommand runs the go command in dir and returns what it prints.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// list returns the packages that match the patterns, their tests and all that these need,
// compiled.
func list(ctx context.Context, dir string, flags, patterns []string) ([]*listed, error) {
	args := append([]string{"list", "-test", "-deps", "-export", "-json=" + fields}, flags...)
	out, err := goCommand(ctx, dir, append(append(args, "--"), patterns...)...)
	if err != nil {
		return nil, err
	}
	var all []*listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		l := new(listed)
		if err := dec.Decode(l); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: its output is not what was expected: %w", err)
		}
		all = append(all, l)
	}
}

// names returns the import paths that match the patterns.
func names(ctx context.Context, dir string, deps bool, patterns ...string) ([]string, error) {
	args := []string{"list"}
	if deps {
		args = append(args, "-deps")
	}
	out, err := goCommand(ctx, dir, append(append(args, "--"), patterns...)...)
	return strings.Fields(string(out)), err
}

// chosen returns of all packages the ones to rewrite: those in want, and their tests. Of
// the ways in which a package is compiled it is the one with the most files.
func chosen(all []*listed, want map[string]bool) []*listed {
	best := map[string]*listed{}
	for _, l := range all {
		path := l.path()
		if strings.HasSuffix(path, ".test") || !want[strings.TrimSuffix(path, "_test")] && !want[path] {
			continue
		}
		if known := best[path]; known == nil || len(l.GoFiles) > len(known.GoFiles) {
			best[path] = l
		}
	}
	var some []*listed
	for _, l := range all {
		if best[l.path()] == l {
			some = append(some, l)
		}
	}
	return some
}

// importerFor returns an importer of what l imports, from what the compiler has exported.
func importerFor(l *listed, exports map[string]string) types.Importer {
	lookup := func(path string) (io.ReadCloser, error) {
		if to, ok := l.ImportMap[path]; ok {
			path = to
		}
		name := exports[path]
		if name == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(name)
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", lookup)
}

// exportNames returns the files with export data, by import path.
func exportNames(all []*listed) map[string]string {
	exports := map[string]string{}
	for _, l := range all {
		exports[l.ImportPath] = l.Export
	}
	return exports
}

// dependsOn is what the copies of l depend on besides its files.
func dependsOn(l *listed, exports map[string]string) []string {
	var deps []string
	for from, to := range l.ImportMap {
		deps = append(deps, from+"="+exports[to])
	}
	slices.Sort(deps)
	return append(deps, l.Export)
}
