package instrument

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/sched/rewrite"
)

// Config says what to build.
type Config struct {
	Dir        string   // where the go command runs; "" is the current folder
	Packages   []string // patterns: the packages whose tests are to be run
	Instrument []string // patterns: the packages to instrument
	Flags      []string // of the go command, which change what is built, such as -tags=x
	Cache      string   // a folder for the copies; it is made if it is not there
}

// Build is a build with instrumented packages.
type Build struct {
	Instrumented []string // import paths
	Overlay      string   // the file for the go command's -overlay
	Work         string   // the file for GOWORK; "" if it may stay what it is
}

// ErrNothing reports a pattern that matches no package of the build.
var ErrNothing = errors.New("nothing to instrument")

// Prepare writes the copies and what refers to them. The files stay in the cache, and a
// build of the same sources finds them there.
func Prepare(ctx context.Context, c Config) (*Build, error) {
	if err := os.MkdirAll(c.Cache, 0o777); err != nil {
		return nil, fmt.Errorf("instrument: the cache: %w; name another folder", err)
	}
	all, err := list(ctx, c.Dir, c.Flags, c.Packages)
	if err != nil {
		return nil, err
	}
	want, err := c.wanted(ctx, all)
	if err != nil {
		return nil, err
	}
	b := &builder{config: c, want: want, exports: exportNames(all), overlay: map[string]string{}, modules: map[string]*copied{}}
	for _, l := range chosen(all, want) {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := b.add(l); err != nil {
			return nil, err
		}
	}
	return b.finish(ctx)
}

// wanted returns the packages to instrument, which must be part of the build and not part
// of what the drop-ins are made of.
func (c *Config) wanted(ctx context.Context, all []*listed) (map[string]bool, error) {
	built := map[string]bool{}
	for _, l := range all {
		built[l.path()] = true
	}
	if scheduler := filepath.ToSlash(filepath.Dir(rewrite.ShimPath)); !built[scheduler] {
		return nil, fmt.Errorf("instrument: no test of %s imports %s, so nothing would be scheduled; call sched.Run in a test",
			strings.Join(c.Packages, " "), scheduler)
	}
	below, err := names(ctx, c.Dir, true, rewrite.ShimPath+"/...")
	if err != nil {
		return nil, err
	}
	want := map[string]bool{}
	for _, pattern := range c.Instrument {
		paths, err := names(ctx, c.Dir, false, pattern)
		if err != nil {
			return nil, err
		}
		n := 0
		for _, path := range paths {
			if !built[path] {
				continue
			}
			n++
			want[path] = true
			if slices.Contains(below, path) {
				return nil, fmt.Errorf("instrument: %s: %w: the scheduler itself is made of it; leave it out", path, rewrite.ErrRefused)
			}
		}
		if n == 0 {
			return nil, fmt.Errorf("instrument: %q: %w: no package that %s needs matches it; 'go list -deps -test' prints those that are",
				pattern, ErrNothing, strings.Join(c.Packages, " "))
		}
	}
	return want, nil
}

// builder collects what is to be replaced.
type builder struct {
	config  Config
	want    map[string]bool
	exports map[string]string
	overlay map[string]string  // from an original file to its copy
	modules map[string]*copied // by path
	paths   []string
}

// copied is a module of the module cache with files to replace.
type copied struct {
	module *module
	files  map[string]string // from an original file to its copy
}

// add rewrites a package, or finds its copies in the cache.
func (b *builder) add(l *listed) error {
	if len(l.CgoFiles) > 0 {
		return fmt.Errorf("%s:1: %w: it uses cgo, whose files cannot be rewritten; leave %s out",
			filepath.Join(l.Dir, l.CgoFiles[0]), rewrite.ErrRefused, l.path())
	}
	files := make([]string, len(l.GoFiles))
	for i, name := range l.GoFiles {
		if files[i] = name; !filepath.IsAbs(name) {
			files[i] = filepath.Join(l.Dir, name)
		}
	}
	// The go command makes the main package of a test binary itself, in its own cache.
	folder, err := b.copies(l, files)
	if err != nil {
		return err
	}
	b.paths = append(b.paths, l.path())
	into := b.overlay
	if m := l.fromCache(); m != nil {
		if b.modules[m.Path] == nil {
			b.modules[m.Path] = &copied{module: m, files: map[string]string{}}
		}
		into = b.modules[m.Path].files
	}
	for _, name := range files {
		into[name] = filepath.Join(folder, filepath.Base(name))
	}
	return nil
}

// fromCache returns the module of l if its files are in the module cache, or else nil.
func (l *listed) fromCache() *module {
	m := l.Module
	if l.Standard || m == nil || m.Main {
		return nil
	}
	if m.Replace != nil && m.Replace.Version == "" {
		return nil // replaced by a folder
	}
	return m
}

// copies returns the folder with the rewritten files of l.
func (b *builder) copies(l *listed, files []string) (string, error) {
	rewriter, err := rewrite.Version()
	if err != nil {
		return "", fmt.Errorf("instrument: %w", err)
	}
	parts := []string{rewriter, runtime.Version(), l.path(), strings.Join(b.wantNames(), " ")}
	parts = append(parts, dependsOn(l, b.exports)...)
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("instrument: %w", err)
		}
		parts = append(parts, name, string(src))
	}
	return b.cached("src", parts, func(folder string) error {
		goVersion := ""
		if l.Module != nil {
			goVersion = "go" + cmp.Or(l.Module.GoVersion, defaultGo)
		}
		out, err := rewrite.Rewrite(rewrite.Package{
			Path: l.path(), Files: files, GoVersion: goVersion, Importer: importerFor(l, b.exports),
			Instrumented: func(path string) bool { return b.want[path] },
		})
		if err != nil {
			return err
		}
		for name, text := range out {
			if err := os.WriteFile(filepath.Join(folder, filepath.Base(name)), text, 0o666); err != nil {
				return fmt.Errorf("instrument: %w", err)
			}
		}
		return nil
	})
}

func (b *builder) wantNames() []string {
	var names []string
	for name := range b.want {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// cached returns the folder of the cache for what parts say; fill makes its contents if it
// is not there.
func (b *builder) cached(kind string, parts []string, fill func(folder string) error) (string, error) {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	folder := filepath.Join(b.config.Cache, kind, hex.EncodeToString(h.Sum(nil)[:16]))
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o777); err != nil {
		return "", fmt.Errorf("instrument: the cache: %w; name another folder", err)
	}
	// In one step, so that no other build finds half of it.
	temp, err := os.MkdirTemp(filepath.Dir(folder), "new-")
	if err != nil {
		return "", fmt.Errorf("instrument: the cache: %w; name another folder", err)
	}
	defer os.RemoveAll(temp)
	if err := fill(temp); err != nil {
		return "", err
	}
	if err := os.Chmod(temp, 0o777); err != nil {
		return "", fmt.Errorf("instrument: the cache: %w", err)
	}
	if err := os.Rename(temp, folder); err != nil {
		if _, other := os.Stat(folder); other == nil {
			return folder, nil // another build was first
		}
		return "", fmt.Errorf("instrument: the cache: %w", err)
	}
	return folder, nil
}

// finish writes the overlay and, if modules are copied, the workspace.
func (b *builder) finish(ctx context.Context) (*Build, error) {
	overlay, err := json.MarshalIndent(map[string]any{"Replace": b.overlay}, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("instrument: the overlay: %w", err)
	}
	build := &Build{Instrumented: b.paths}
	folder, err := b.cached("overlay", []string{string(overlay)}, func(folder string) error {
		return os.WriteFile(filepath.Join(folder, "overlay.json"), overlay, 0o666)
	})
	if err != nil {
		return nil, err
	}
	build.Overlay = filepath.Join(folder, "overlay.json")
	if len(b.modules) > 0 {
		build.Work, err = b.workspace(ctx)
	}
	return build, err
}
