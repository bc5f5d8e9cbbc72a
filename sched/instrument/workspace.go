package instrument

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// defaultGo is the version of the language where none is given.
const defaultGo = "1.16"

// workspace returns a go.work that is the present one, or one of the main module alone,
// with the copied modules in place of the originals.
func (b *builder) workspace(ctx context.Context) (string, error) {
	work, sums, err := b.present(ctx)
	if err != nil {
		return "", err
	}
	for _, path := range slices.Sorted(maps.Keys(b.modules)) {
		folder, err := b.copyModule(b.modules[path])
		if err != nil {
			return "", err
		}
		work += fmt.Sprintf("replace %s %s => %s\n", path, b.modules[path].module.Version, strconv.Quote(folder))
	}
	folder, err := b.cached("work", []string{work, string(sums)}, func(folder string) error {
		return errors.Join(
			os.WriteFile(filepath.Join(folder, "go.work"), []byte(work), 0o666),
			os.WriteFile(filepath.Join(folder, "go.work.sum"), sums, 0o666),
		)
	})
	return filepath.Join(folder, "go.work"), err
}

// present returns the text of a go.work equal to the present one, and its sums.
func (b *builder) present(ctx context.Context) (work string, sums []byte, err error) {
	out, err := goCommand(ctx, b.config.Dir, "env", "-json", "GOWORK", "GOMOD")
	if err != nil {
		return "", nil, err
	}
	var env struct{ GOWORK, GOMOD string }
	if err := json.Unmarshal(out, &env); err != nil {
		return "", nil, fmt.Errorf("go env: %w", err)
	}
	if env.GOWORK == "" || env.GOWORK == "off" {
		work, err = b.alone(ctx, env.GOMOD)
		return work, nil, err
	}
	if out, err = goCommand(ctx, b.config.Dir, "work", "edit", "-json", env.GOWORK); err != nil {
		return "", nil, err
	}
	var file struct {
		Go      string
		Use     []struct{ DiskPath string }
		Replace []struct {
			Old, New struct{ Path, Version string }
		}
	}
	if err := json.Unmarshal(out, &file); err != nil {
		return "", nil, fmt.Errorf("go work edit: %w", err)
	}
	base := filepath.Dir(env.GOWORK)
	absolute := func(path string) string {
		if !filepath.IsAbs(path) {
			path = filepath.Join(base, path)
		}
		return strconv.Quote(path)
	}
	work = "go " + cmp.Or(file.Go, defaultGo) + "\n"
	for _, use := range file.Use {
		work += "use " + absolute(use.DiskPath) + "\n"
	}
	for _, r := range file.Replace {
		if b.modules[r.Old.Path] != nil {
			continue
		}
		to := r.New.Path + " " + r.New.Version
		if r.New.Version == "" {
			to = absolute(r.New.Path)
		}
		work += fmt.Sprintf("replace %s %s => %s\n", r.Old.Path, r.Old.Version, to)
	}
	sums, err = os.ReadFile(env.GOWORK + ".sum")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return work, sums, err
}

// alone returns a go.work of one module.
func (b *builder) alone(ctx context.Context, goMod string) (string, error) {
	if goMod == "" || goMod == os.DevNull {
		return "", errors.New("instrument: there is no go.mod; run this in a module")
	}
	out, err := goCommand(ctx, b.config.Dir, "mod", "edit", "-json", goMod)
	if err != nil {
		return "", err
	}
	var file struct{ Go string }
	if err := json.Unmarshal(out, &file); err != nil {
		return "", fmt.Errorf("go mod edit: %w", err)
	}
	return fmt.Sprintf("go %s\nuse %s\n", cmp.Or(file.Go, defaultGo), strconv.Quote(filepath.Dir(goMod))), nil
}

// copyModule returns a folder with the module's files, some of them replaced.
func (b *builder) copyModule(c *copied) (string, error) {
	parts := []string{c.module.Path, c.module.Version, c.module.Dir}
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		parts = append(parts, name, c.files[name]) // whose folder is named by its content
	}
	return b.cached("mod", parts, func(folder string) error {
		if err := os.CopyFS(folder, os.DirFS(c.module.Dir)); err != nil {
			return fmt.Errorf("instrument: copying %s: %w", c.module.Path, err)
		}
		for name, from := range c.files {
			inside, err := filepath.Rel(c.module.Dir, name)
			if err != nil {
				return fmt.Errorf("instrument: %w", err)
			}
			text, err := os.ReadFile(from)
			if err != nil {
				return fmt.Errorf("instrument: %w", err)
			}
			if err := os.WriteFile(filepath.Join(folder, inside), text, 0o666); err != nil {
				return fmt.Errorf("instrument: %w", err)
			}
		}
		return needGoMod(folder, c.module.Path)
	})
}

// needGoMod writes a go.mod if there is none: a replacement needs one.
func needGoMod(folder, path string) error {
	name := filepath.Join(folder, "go.mod")
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(name, []byte("module "+path+"\n"), 0o666)
}
