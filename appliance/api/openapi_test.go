package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// document is what these tests read of openapi.json.
type document struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string
		Parameters  []struct{ Name, In string }
		RequestBody struct{ Content map[string]media }
		Responses   map[string]struct{ Content map[string]media }
	}
	Components struct{ Schemas map[string]schema }
}

type media struct{ Schema schema }

type schema struct {
	Ref        string `json:"$ref"`
	Type       string
	Format     string
	Items      *schema
	Properties map[string]schema
	Required   []string
}

func described(t *testing.T) document {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(&fakeEngine{}).ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	var d document
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d: %v", w.Code, err)
	}
	return d
}

// Each route is described, and what is described is a route.
func TestDescriptionRoutes(t *testing.T) {
	d := described(t)
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("got version %q, want 3.1", d.OpenAPI)
	}
	var have, want []string
	ids := map[string]bool{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			have = append(have, strings.ToUpper(method)+" "+path)
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s %s: operationId %q is empty or not its own", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
			if len(op.Responses["200"].Content) == 0 || len(op.Responses["default"].Content) == 0 {
				t.Errorf("%s %s: an answer is missing", method, path)
			}
			inPath := 0
			for _, p := range op.Parameters {
				if p.In == "path" {
					inPath++
					if !strings.Contains(path, "{"+p.Name+"}") {
						t.Errorf("%s: %q is not in the path", path, p.Name)
					}
				}
			}
			if inPath != strings.Count(path, "{") {
				t.Errorf("%s: %d parameters of the path are described", path, inPath)
			}
		}
	}
	for _, r := range routes(&fakeEngine{}) {
		want = append(want, r.method+" "+r.path)
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("described: %q\nserved:    %q", have, want)
	}
}

// docs/api.md names each route.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes(&fakeEngine{}) {
		if !strings.Contains(string(doc), "`"+r.method+" "+r.path+"`") {
			t.Errorf("%s %s is not there", r.method, r.path)
		}
	}
}

// A query parameter that is described is understood, and no other is.
func TestDescriptionParameters(t *testing.T) {
	values := map[string]string{"limit": "5", "after": "7", "since": "2026-11-24T09:41:00Z", "until": "2026-11-24T09:41:00Z", "order": "newest", "state": "held"}
	h := Handler(&fakeEngine{})
	for path, methods := range described(t).Paths {
		for method, op := range methods {
			if method != "get" || strings.HasSuffix(path, "/events") || strings.Contains(path, "{") {
				continue
			}
			for _, p := range op.Parameters {
				value, ok := values[p.Name]
				if !ok {
					value = "x"
				}
				query := "?" + p.Name + "=" + value
				if path == "/v1/trace" && p.Name != "id" && p.Name != "address" {
					query += "&id=x"
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", path+query, nil))
				if w.Code != http.StatusOK {
					t.Errorf("%s%s: got %d: %s", path, query, w.Code, w.Body)
				}
			}
		}
	}
}

// Each Go type that travels has a schema with the same fields of the same kinds,
// and no schema is left over.
func TestDescriptionTypes(t *testing.T) {
	d := described(t)
	seen := map[string]bool{}
	var walk func(where string, typ reflect.Type, s schema)
	walk = func(where string, typ reflect.Type, s schema) {
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		kind, format := "", ""
		switch {
		case typ == reflect.TypeFor[time.Time]():
			kind, format = "string", "date-time"
		case typ.Kind() == reflect.String:
			kind = "string"
		case typ.Kind() == reflect.Bool:
			kind = "boolean"
		case typ.Kind() == reflect.Slice:
			kind = "array"
			if s.Items == nil {
				t.Errorf("%s: no items", where)
				return
			}
			walk(where+"[]", typ.Elem(), *s.Items)
		case typ.Kind() == reflect.Struct:
			name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/")
			if !ok || name != typ.Name() {
				t.Errorf("%s: got %q, want a reference to %s", where, s.Ref, typ.Name())
				return
			}
			if seen[name] {
				return
			}
			seen[name] = true
			var have, required []string
			for _, f := range reflect.VisibleFields(typ) {
				tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
				have = append(have, tag)
				if options == "" {
					required = append(required, tag)
				}
				if p, ok := d.Components.Schemas[name].Properties[tag]; ok {
					walk(name+"."+tag, f.Type, p)
				}
			}
			slices.Sort(have)
			slices.Sort(required)
			if props := slices.Sorted(maps.Keys(d.Components.Schemas[name].Properties)); !slices.Equal(props, have) {
				t.Errorf("%s: the schema has %q, the type %q", name, props, have)
			}
			if got := d.Components.Schemas[name].Required; !slices.Equal(got, required) {
				t.Errorf("%s: the schema requires %q, the type always has %q", name, got, required)
			}
			return
		default:
			kind, format = "integer", s.Format
		}
		if s.Type != kind || s.Format != format {
			t.Errorf("%s: got %q %q, want %q %q", where, s.Type, s.Format, kind, format)
		}
	}
	// Bodies by operation: what is sent and what comes back.
	bodies := map[string][2]any{
		"status": {nil, Status{}}, "selftest": {nil, SelfTest{}}, "messages": {nil, Messages{}}, "message": {nil, Detail{}},
		"retry": {Retry{}, Retried{}}, "return": {Return{}, Action{}}, "delete": {Delete{}, Action{}},
		"actions": {nil, Actions{}}, "undo": {nil, Undone{}},
		"pauses": {nil, Pauses{}}, "pause": {Pause{}, Pauses{}}, "resume": {Pause{}, Pauses{}},
		"trace": {nil, Trace{}}, "history": {nil, Attempt{}}, "notes": {nil, Notes{}},
		"policies": {nil, Policies{}}, "policy": {nil, Policy{}}, "refreshPolicy": {nil, PolicyAnswer{}},
		"check":  {nil, Check{}},
		"events": {nil, Line{}}, "description": {}, "messageText": {},
	}
	for path, methods := range d.Paths {
		for _, op := range methods {
			want, ok := bodies[op.OperationID]
			if !ok {
				t.Errorf("%s: operation %q is new to this test", path, op.OperationID)
				continue
			}
			for i, content := range []map[string]media{op.RequestBody.Content, op.Responses["200"].Content} {
				if want[i] == nil {
					continue
				}
				for _, m := range content {
					walk(op.OperationID, reflect.TypeOf(want[i]), m.Schema)
				}
				if len(content) != 1 {
					t.Errorf("%s: got %d kinds of content, want one", op.OperationID, len(content))
				}
			}
			walk("default", reflect.TypeFor[Problem](), op.Responses["default"].Content["application/json"].Schema)
		}
	}
	for name := range d.Components.Schemas {
		if !seen[name] {
			t.Errorf("no body holds the schema %q", name)
		}
	}
}
