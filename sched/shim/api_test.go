package shim_test

import (
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/sched/rewrite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api lists what a package exports: names, signatures, methods and fields, without the
// names of parameters and with the package's own types under its name.
func api(t *testing.T, imp types.Importer, path string) []string {
	t.Helper()
	pkg, err := imp.Import(path)
	if err != nil {
		t.Fatal(err)
	}
	qualify := func(p *types.Package) string { return p.Name() }
	var lines []string
	for _, name := range pkg.Scope().Names() {
		if !token.IsExported(name) {
			continue
		}
		obj := pkg.Scope().Lookup(name)
		switch obj := obj.(type) {
		case *types.Func:
			lines = append(lines, name+signature(obj.Signature(), qualify))
		case *types.TypeName:
			lines = append(lines, typeLines(obj, qualify)...)
		default:
			lines = append(lines, fmt.Sprintf("%s %T %s", name, obj, types.TypeString(obj.Type(), qualify)))
		}
	}
	slices.Sort(lines)
	return lines
}

// typeLines lists what a type has for those who use it.
func typeLines(obj *types.TypeName, qualify types.Qualifier) []string {
	name := obj.Name()
	kind := "type"
	if _, ok := obj.Type().Underlying().(*types.Interface); ok {
		kind = "interface"
	}
	named, _ := types.Unalias(obj.Type()).(*types.Named)
	lines := []string{fmt.Sprintf("%s %s with %d parameters", kind, name, named.TypeParams().Len())}
	methods := types.NewMethodSet(types.NewPointer(obj.Type()))
	if kind == "interface" {
		methods = types.NewMethodSet(obj.Type())
	}
	values := types.NewMethodSet(obj.Type())
	for m := range methods.Methods() {
		if m.Obj().Exported() {
			onValue := values.Lookup(m.Obj().Pkg(), m.Obj().Name()) != nil
			lines = append(lines, fmt.Sprintf("%s.%s%s on value %v", name, m.Obj().Name(), signature(m.Type().(*types.Signature), qualify), onValue))
		}
	}
	if s, ok := obj.Type().Underlying().(*types.Struct); ok {
		for f := range s.Fields() {
			if f.Exported() {
				lines = append(lines, fmt.Sprintf("%s.%s %s", name, f.Name(), types.TypeString(f.Type(), qualify)))
			}
		}
	}
	return lines
}

func signature(s *types.Signature, qualify types.Qualifier) string {
	part := func(tuple *types.Tuple) string {
		var parts []string
		for v := range tuple.Variables() {
			parts = append(parts, types.TypeString(v.Type(), qualify))
		}
		return "(" + strings.Join(parts, ", ") + ")"
	}
	params := ""
	for p := range s.TypeParams().TypeParams() {
		params += "[" + types.TypeString(p.Constraint().Underlying(), nil) + "]"
	}
	return fmt.Sprintf("%s%s%s variadic %v", params, part(s.Params()), part(s.Results()), s.Variadic())
}

// What a program can use of the real packages it can use of the drop-ins.
func TestDropInsExportWhatTheRealPackagesDo(t *testing.T) {
	imp := importer.ForCompiler(token.NewFileSet(), "source", nil)
	for real, dropIn := range map[string]string{
		"sync": "sync", "sync/atomic": "atomic", "math/rand": "rand", "math/rand/v2": "randv2",
	} {
		want, got := api(t, imp, real), api(t, imp, rewrite.ShimPath+"/"+dropIn)
		if len(want) == 0 {
			t.Errorf("%s: nothing to compare with", real)
		}
		for _, line := range want {
			if !slices.Contains(got, line) {
				t.Errorf("%s lacks %s", dropIn, line)
			}
		}
		for _, line := range got {
			if !slices.Contains(want, line) {
				t.Errorf("%s has %s, which %s has not", dropIn, line, real)
			}
		}
	}
}
