package picture

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/anishathalye/porcupine"

	"github.com/poolproof/poolproof/linearize"
)

// Porcupine draws what it tried; it is asked only where that is quick and can be looked at.
const (
	porcupineOps   = 300
	porcupineSteps = 50_000
)

// Beside writes the page of a history that failed beside the history's file, under its name
// with the extension .html, as Save does, and returns the names of what it wrote, for the
// message of the failure. It writes nothing if the verdict is Ok.
func Beside(history string, h *linearize.History, v *linearize.Verdict) ([]string, error) {
	if v.Result == linearize.Ok {
		return nil, nil
	}
	return Save(PageName(history), h, v)
}

// PageName returns the name of the page beside a history's file.
func PageName(history string) string {
	base := strings.TrimSuffix(history, ".gz")
	return strings.TrimSuffix(base, filepath.Ext(base)) + ".html"
}

// Save writes the page of a history to a file, over an old one if there is one. If the
// verdict is Illegal, the history is short and porcupine agrees soon, porcupine's own page
// goes beside it, with ".porcupine.html" for its extension, and is linked. The names of
// what was written are returned also with an error.
func Save(name string, h *linearize.History, v *linearize.Verdict) ([]string, error) {
	var names []string
	var links []Link
	other, err := porcupinePage(h, v)
	if err != nil {
		return nil, fmt.Errorf("picture: porcupine's page: %w", err)
	}
	if other != nil {
		beside := strings.TrimSuffix(name, filepath.Ext(name)) + ".porcupine.html"
		if err := os.WriteFile(beside, other, 0o644); err != nil {
			return nil, fmt.Errorf("picture: %w", err)
		}
		names = append(names, beside)
		links = append(links, Link{Name: "./" + filepath.Base(beside), Text: "what porcupine tried"})
	}
	var b bytes.Buffer
	if err := Write(&b, h, v, links...); err != nil {
		return names, fmt.Errorf("picture: %w", err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		return names, fmt.Errorf("picture: %w", err)
	}
	return append([]string{name}, names...), nil
}

// porcupinePage returns porcupine's page, or nil where it does not apply.
func porcupinePage(h *linearize.History, v *linearize.Verdict) ([]byte, error) {
	if v.Result != linearize.Illegal || len(h.Ops) > porcupineOps {
		return nil, nil
	}
	model, ops, err := linearize.Porcupine(h)
	if err != nil {
		return nil, nil // the history's form is wrong, which is what the verdict says
	}
	var steps atomic.Int64
	bounded := model
	bounded.StepContext = func(ctx context.Context, state, in, out any) (bool, any) {
		if steps.Add(1) > porcupineSteps {
			return false, state
		}
		return model.StepContext(ctx, state, in, out)
	}
	result, info := porcupine.CheckOperationsVerbose(bounded, ops, 0)
	if result != porcupine.Illegal || steps.Load() > porcupineSteps {
		return nil, nil
	}
	var b bytes.Buffer
	err = porcupine.Visualize(model, info, &b)
	return b.Bytes(), err
}
