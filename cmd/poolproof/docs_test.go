package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// docsBlock returns the first block of Go code in a document that contains a text.
func docsBlock(t *testing.T, root, document, text string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(page), "```go\n")[1:] {
		if code, _, ok := strings.Cut(part, "```"); ok && strings.Contains(code, text) {
			return code
		}
	}
	t.Fatalf("%s has no block of code with %q", document, text)
	return ""
}

// docsPool is the pool that the documents verify: that of the example in package props.
func docsPool(t *testing.T, root string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "props", "example_pool_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	code, _, _ := strings.Cut(string(text), "// TestExampleVerify")
	return strings.NewReplacer("package props_test", "package mypool", "newMyPool", "New", "myPool", "Pool",
		"\t\"testing\"\n", "", "\n\t\"github.com/poolproof/poolproof/props\"\n", "").Replace(code)
}

// docsWorkers is a pool of goroutines and the code around what the documents say of it; the
// code around what README.md and docs/chaos.md say is docsReadme and docsChaos.
const (
	docsWorkers = `package mypool

import (
	"context"

	"github.com/poolproof/poolproof/props"
)

type workers struct{}

func NewWorkers(int) *workers         { return nil }
func (*workers) Submit(func()) error { return nil }
func (*workers) Stop()               {}

var _ = props.Target{
BLOCK}
`
	docsReadme = `package readme

import (
	"testing"

	"github.com/poolproof/poolproof/mypool"
	"github.com/poolproof/poolproof/props"
)

type adapter struct{ props.Pool }

func adapt(*mypool.Pool[*props.Resource]) adapter { return adapter{} }

func Test(t *testing.T) {
BLOCK}
`
	docsChaos = `package chaos

import (
	"context"
	"errors"

	"github.com/poolproof/poolproof/faults"
)

func kit() faults.Kit {
BLOCK
	return kit
}
`
)

// What the documents show compiles, and the pool passes.
func TestDocumentsCompile(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	readme := docsBlock(t, root, "README.md", "adapter{mypool.New(")
	files := map[string]string{ // where there are no such folders
		"mypool/mypool.go":       docsPool(t, root),
		"mypool/mypool_test.go":  docsBlock(t, root, "docs/verify.md", "package mypool"),
		"mypool/workers_test.go": strings.Replace(docsWorkers, "BLOCK", docsBlock(t, root, "docs/verify.md", "NewWorkers("), 1),
		"mypool/readme/readme_test.go": strings.Replace(docsReadme, "BLOCK",
			strings.Replace(readme, "adapter{mypool.New(2, env.Create, env.Destroy)}", "adapt(mypool.New(2, env.Create, env.Destroy))", 1), 1),
		"mypool/chaos/chaos_test.go": strings.Replace(docsChaos, "BLOCK", docsBlock(t, root, "docs/chaos.md", "faults.InjectorFunc("), 1),
	}
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, code := range files {
		file := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, name)] = file
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"./mypool/chaos", "./mypool/readme", "./mypool"} {
		if _, err := goIn(t.Context(), root, nil, "test", "-c", "-vet=off", "-overlay="+list, "-o", filepath.Join(dir, "docs.test"), folder); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "docs.test"), "-test.run=^TestPool$", "-test.v", "-rapid.checks=20")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestPool/Race") {
		t.Errorf("%v\n%s", err, out)
	}
}
