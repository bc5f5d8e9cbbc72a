package process_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestEveryPoolIsRecorded: the tests with process workers open pools only where they are
// recorded. Examples show users how to open one, and a host that is killed leaves no history.
func TestEveryPoolIsRecorded(t *testing.T) {
	opens := regexp.MustCompile(`\b(process\.NewPool|process\.NewPoolOf|pool\.New)\(`)
	allowed := map[string]int{
		"pool_test.go": 1, "layers/layer_test.go": 1, "layers/fake_test.go": 1,
		"example_test.go": 4, "orphan_linux_test.go": 1,
	}
	total := 0
	for _, pattern := range []string{"*_test.go", "layers/*_test.go", "../../examples/textserver/*_test.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(names))
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(opens.FindAll(content, -1)); name != "recorded_test.go" && got != allowed[name] {
				t.Errorf("%s opens %d pools by itself, want %d: use openPool, newPool or recorded.Open", name, got, allowed[name])
			} else {
				total += got
			}
		}
	}
	if total == 0 {
		t.Error("no pool is opened anywhere")
	}
}
