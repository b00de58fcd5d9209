package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Export is a SQL copy of the events.
type Export struct {
	Target    string `json:"target"`
	State     string `json:"state"`
	Watermark uint64 `json:"watermark"`
}

// Exports lists the SQL copies, as the node sees them.
func (c *Client) Exports(ctx context.Context) ([]Export, error) {
	var out struct {
		Items []Export `json:"items"`
	}
	err := c.call(ctx, http.MethodGet, "/api/v1/export", nil, &out)
	return out.Items, err
}

// ExportReport compares a SQL copy with the events.
type ExportReport struct {
	Target    string `json:"target"`
	Watermark uint64 `json:"watermark"`
	Equal     bool   `json:"equal"`
	Parked    uint64 `json:"parked"`
	Missing   uint64 `json:"missing"`
	Unchecked uint64 `json:"unchecked"`
	Different int    `json:"different"`
	Days      []struct {
		Day     string `json:"day"`
		Equal   bool   `json:"equal"`
		Events  int    `json:"events"`
		Rows    int    `json:"rows"`
		Records int    `json:"records"`
		Found   int    `json:"found"`
		GotSum  string `json:"got_sum"`
	} `json:"days"`
	Tables []struct {
		Table string `json:"table"`
		Equal bool   `json:"equal"`
		Want  int    `json:"want"`
		Rows  int    `json:"rows"`
	} `json:"tables"`
	Differences []struct {
		Table  string `json:"table"`
		Key    string `json:"key"`
		Column string `json:"column"`
		Want   string `json:"want"`
		Got    string `json:"got"`
	} `json:"differences"`
}

// VerifyExport has the node compare a SQL copy with its events.
func (c *Client) VerifyExport(ctx context.Context, target string) (ExportReport, json.RawMessage, error) {
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodPost, "/api/v1/export/verify", map[string]string{"target": target}, &raw); err != nil {
		return ExportReport{}, nil, err
	}
	var r ExportReport
	if err := json.Unmarshal(raw, &r); err != nil {
		return ExportReport{}, nil, fmt.Errorf("%s does not answer as hadir does: %w", c.Base, err)
	}
	return r, raw, nil
}

// ResetExport decides about a SQL copy that is stopped, and gives what was decided.
func (c *Client) ResetExport(ctx context.Context, target, how string) (string, error) {
	in := map[string]string{"target": target}
	if how != "" {
		in["how"] = how
	}
	var out struct {
		Decision string `json:"decision"`
	}
	err := c.call(ctx, http.MethodPost, "/api/v1/export/reset", in, &out)
	return out.Decision, err
}
