package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// adminsOnly lets requests through whose session is an administrator's. The
// nodes know that: one of them is asked through the front. Requests that a page
// of another origin sends are refused.
func adminsOnly(next http.Handler, front string, client *http.Client) http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch role, err := roleOf(r, front, client); {
		case err != nil:
			problem(w, http.StatusBadGateway, "no_node", "No node could say who is asking.")
		case role == "":
			problem(w, http.StatusUnauthorized, "unauthenticated", "Sign in as an administrator.")
		case role != "admin":
			problem(w, http.StatusForbidden, "forbidden", "Only administrators may do this.")
		default:
			next.ServeHTTP(w, r)
		}
	}))
}

const roleTimeout = 10 * time.Second

// roleOf gives the role of who sent the request; "" for nobody.
func roleOf(r *http.Request, front string, client *http.Client) (string, error) {
	ctx, cancel := context.WithTimeout(r.Context(), roleTimeout)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, front+"/api/v1/session", http.NoBody)
	if err != nil {
		return "", err
	}
	for _, h := range []string{"Cookie", "Authorization"} {
		for _, v := range r.Header.Values(h) {
			ask.Header.Add(h, v)
		}
	}
	resp, err := client.Do(ask)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return "", nil
	default:
		return "", fmt.Errorf("status %d", resp.StatusCode)
	}
	var session struct {
		User struct {
			Role string `json:"role"`
		} `json:"user"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&session); err != nil {
		return "", err
	}
	return session.User.Role, nil
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the client is gone then
}

func problem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{ //nolint:errcheck // the client is gone then
		"type": "about:blank", "title": http.StatusText(status), "status": status, "code": code, "detail": detail,
	})
}
