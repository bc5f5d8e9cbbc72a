package rewrite_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/sched/rewrite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// exported imports packages from what the go command has compiled, and q from its source.
type exported struct{ std types.Importer }

func newExported(t *testing.T) exported {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}",
		"./testdata/everything").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return exported{importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(files[path])
	})}
}

func (e exported) Import(path string) (*types.Package, error) {
	if path != "example.com/q" {
		return e.std.Import(path)
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "q.go", "package q\n\nimport \"sync\"\n\nfunc Use(map[int][]*sync.Mutex) {}\n"+
		"func Lock(sync.Locker) {}\n", 0)
	if err != nil {
		return nil, err
	}
	conf := types.Config{Importer: e.std}
	return conf.Check(path, fset, []*ast.File{f}, nil)
}

// rewriteFile rewrites a file as a package of its own; also names a package that is
// instrumented too.
func rewriteFile(t *testing.T, name, also string) (map[string][]byte, error) {
	t.Helper()
	abs, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return rewrite.Rewrite(rewrite.Package{
		Path: "example.com/p", Files: []string{abs}, Importer: newExported(t),
		Instrumented: func(path string) bool { return path == "example.com/p" || path == also },
	})
}

// A program that uses everything does the same after rewriting, line numbers included.
func TestRewrittenProgramDoesTheSame(t *testing.T) {
	const folder = "testdata/everything"
	out, err := rewriteFile(t, filepath.Join(folder, "everything.go"), "")
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	for name, text := range out {
		for _, mark := range []string{"go func", "select {\n", "range c {", `"sync"`} {
			if bytes.Contains(text, []byte("\n\t"+mark)) {
				t.Errorf("%q is left in\n%s", mark, text)
			}
		}
		replace[name] = filepath.Join(t.TempDir(), "everything.go")
		if err := os.WriteFile(replace[name], text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(overlay, text, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	want, got := goRun(t, "./"+folder), goRun(t, "-overlay="+overlay, "./"+folder)
	if want != got || strings.Count(want, "\n") < 10 {
		t.Errorf("the program prints\n%s\nand after rewriting\n%s", want, got)
	}
}

func goRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"run"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("go run %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestRefusals(t *testing.T) {
	const useQ = "package p\n\nimport \"example.com/q\"\n\nfunc f() {\n\tq.Lock(nil)\n\tq.Use(nil)\n}\n"
	for name, c := range map[string]struct{ source, also, want string }{
		"cgo": {"package p\n\nimport \"C\"\n", "", "p.go:3: cannot instrument: it uses cgo"},
		"semaphore": {
			"package p\n\nimport _ \"unsafe\"\n\n//go:linkname acquire sync.runtime_Semacquire\nfunc acquire(s *uint32)\n", "",
			"p.go:5: cannot instrument: sync.runtime_Semacquire is a semaphore",
		},
		"types of sync": {
			useQ, "", "p.go:7: cannot instrument: q.Use has sync.Mutex in its signature and its package is not instrumented; " +
				"instrument example.com/q too",
		},
		"types of sync together": {useQ, "example.com/q", ""},
		"other linkname":         {"package p\n\nimport _ \"unsafe\"\n\n//go:linkname now time.now\nfunc now() int\n", "", ""},
	} {
		file := filepath.Join(t.TempDir(), "p.go")
		if err := os.WriteFile(file, []byte(c.source), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := rewriteFile(t, file, c.also)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v, want no error", name, err)
		case c.want != "" && (!errors.Is(err, rewrite.ErrRefused) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// What does not compile before is not rewritten, and the message says where.
func TestSourceMustCompile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.go")
	if err := os.WriteFile(file, []byte("package p\n\nvar x int = \"\"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := rewriteFile(t, file, ""); err == nil || !strings.Contains(err.Error(), "p.go:3") {
		t.Errorf("got %v, want an error at p.go:3", err)
	}
}
