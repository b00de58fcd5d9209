package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"hadir/httpapi/openapi"
	"hadir/ui"
)

// getContract gives the description of the interface, as this node serves it.
func getContract(c *call) error {
	c.w.Header().Set("Content-Type", "application/json")
	return c.bytes(http.StatusOK, c.api.contract.json)
}

func docsPage(c *call) error {
	c.keepLang()
	return c.page(http.StatusOK, func(b *bytes.Buffer) error {
		return c.api.pages.Docs(b, c.frame("docs"), c.api.contract.page)
	})
}

// readable gives the contract as a page shows it.
func (k *contract) readable() (ui.Docs, error) {
	info := k.document.Info
	page := ui.Docs{
		Title: info.Title, Version: info.Version, Link: apiPrefix + "/openapi.json", Intro: strings.Split(info.Description, "\n\n"),
	}
	for _, tag := range k.document.Tags {
		area := ui.DocArea{ID: anchor("area", tag.Name), Name: tag.Name, Says: tag.Description}
		for _, path := range slices.Sorted(maps.Keys(k.document.Paths)) {
			item := k.document.Paths[path]
			for _, method := range []string{"get", "post", "put", "patch", "delete"} {
				op := item[method]
				// What is served at the root too is told once.
				if op == nil || op.Tags[0] != tag.Name || !strings.HasPrefix(path, apiPrefix) {
					continue
				}
				described, err := k.readableOperation(strings.ToUpper(method), path, op)
				if err != nil {
					return page, err
				}
				area.Operations = append(area.Operations, described)
			}
		}
		page.Areas = append(page.Areas, area)
	}
	for _, name := range slices.Sorted(maps.Keys(k.schemas.Named)) {
		shape := k.schemas.Named[name]
		if strings.HasSuffix(name, requestSuffix) {
			continue
		}
		page.Shapes = append(page.Shapes, ui.DocShape{ID: anchor("shape", name), Name: name, Fields: readableFields(shape)})
	}
	return page, nil
}

// requestSuffix ends the names of shapes of requests.
const requestSuffix = "Request"

func anchor(kind, name string) string {
	return kind + "-" + strings.ToLower(strings.ReplaceAll(name, " ", "-"))
}

func (k *contract) readableOperation(method, path string, op *openapi.Operation) (ui.DocOperation, error) {
	out := ui.DocOperation{
		ID: op.OperationID, Method: method, Path: path, Summary: op.Summary, Detail: op.Description, Public: op.Access == nil,
	}
	if op.Access != nil {
		for kind := student; kind < kinds; kind++ {
			a := ui.DocAccess{Kind: kind.String(), Reach: op.Access.Reach[kind.String()]}
			if a.Reach == reachNone.String() {
				continue
			}
			if op.Access.Subject == aboutNothing.String() || op.Access.Subject == aboutSelf.String() {
				a.Reach = ""
			}
			out.Access = append(out.Access, a)
		}
	}
	for _, p := range op.Parameters {
		out.Params = append(out.Params, ui.DocField{Name: p.Name, Where: p.In, Type: readableType(p.Schema), Optional: !p.Required, Says: p.Description})
	}
	if op.RequestBody != nil {
		for media, content := range op.RequestBody.Content {
			body, err := readableBody(media, content)
			if err != nil {
				return out, err
			}
			if content.Schema.Ref != "" { // is told in place, because it is used there alone
				body.Type, body.Fields = ui.DocType{}, readableFields(k.schemas.Resolve(content.Schema))
				for i := range body.Fields { // which the introduction says of all
					text := strings.TrimSuffix(body.Fields[i].Type.Text, " or null")
					body.Fields[i].Type.Text = strings.TrimSuffix(text, " | null")
				}
			}
			out.Body = &body
		}
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		if err := readableAnswer(&out, status, op.Responses[status]); err != nil {
			return out, err
		}
	}
	return out, nil
}

func readableAnswer(out *ui.DocOperation, status string, r *openapi.Response) error {
	const problemMedia = "application/problem+json"
	answer := ui.DocAnswer{Status: status, Says: r.Description}
	for _, media := range slices.Sorted(maps.Keys(r.Content)) {
		content := r.Content[media]
		if media == problemMedia {
			p := ui.DocProblem{Status: status}
			for _, c := range content.Schema.Properties.Find("code").Enum {
				p.Codes = append(p.Codes, fmt.Sprint(c))
			}
			out.Problems = append(out.Problems, p)
			continue
		}
		body, err := readableBody(media, content)
		if err != nil {
			return err
		}
		answer.Bodies = append(answer.Bodies, body)
	}
	if len(answer.Bodies) == 0 && len(r.Content) > 0 {
		return nil // nothing but a problem
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		if !strings.HasPrefix(name, "X-") { // those that every answer has
			answer.Headers = append(answer.Headers, name)
		}
	}
	out.Answers = append(out.Answers, answer)
	return nil
}

func readableBody(media string, content openapi.Media) (ui.DocBody, error) {
	body := ui.DocBody{Media: media, Type: readableType(content.Schema)}
	if content.Schema.Ref == "" {
		body.Fields = readableFields(content.Schema)
	}
	if len(content.Example) == 0 {
		return body, nil
	}
	if media != "application/json" {
		err := json.Unmarshal(content.Example, &body.Example)
		return body, err
	}
	var pretty bytes.Buffer
	err := json.Indent(&pretty, content.Example, "", "  ")
	body.Example = pretty.String()
	return body, err
}

func readableFields(s *openapi.Schema) (fields []ui.DocField) {
	for _, p := range s.Properties {
		fields = append(fields, ui.DocField{
			Name: p.Name, Type: readableType(p.Schema), Says: p.Schema.Description, Optional: !slices.Contains(s.Required, p.Name),
		})
	}
	return fields
}

// readableType puts a schema in a few words.
func readableType(s *openapi.Schema) ui.DocType {
	switch {
	case s.Ref != "":
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		return ui.DocType{Link: anchor("shape", name), Name: name}
	case len(s.OneOf) == 2 && slices.Equal(s.OneOf[1].Type, openapi.Types{"null"}):
		t := readableType(s.OneOf[0])
		t.Text = strings.TrimSpace(t.Text + " null or")
		return t
	case len(s.OneOf) > 0:
		var names []string
		for _, one := range s.OneOf {
			names = append(names, readableType(one).Name)
		}
		return ui.DocType{Text: strings.Join(names, " | ")}
	case len(s.Enum) > 0:
		var all []string
		for _, w := range s.Enum {
			text := "null"
			if w != nil {
				text = fmt.Sprint(w)
			}
			all = append(all, text)
		}
		return ui.DocType{Text: strings.Join(all, " | ")}
	case len(s.Type) == 0:
		return ui.DocType{Text: "anything"}
	case s.Type[0] == "array":
		t := readableType(s.Items)
		t.Text = strings.TrimSpace("array of " + t.Text)
		return t
	}
	text := s.Type[0]
	if s.Format != "" {
		text = s.Format
	}
	if s.Minimum != nil && s.Maximum != nil && *s.Maximum < maxID {
		text += fmt.Sprintf(" %d … %d", *s.Minimum, *s.Maximum)
	}
	if s.Default != nil {
		text += fmt.Sprintf(", %v by default", s.Default)
	}
	if slices.Contains(s.Type[1:], "null") {
		text += " or null"
	}
	return ui.DocType{Text: text}
}
