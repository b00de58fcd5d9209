// Where this phone is. Watching begins when the page opens, because the first fix
// takes seconds; nothing is kept from one tap to the next.

export type Place =
  | { state: "seeking" }
  | { state: "found"; latitude: number; longitude: number; accuracy: number; at: number }
  | { state: "failed"; why: "denied" | "unavailable" | "timeout" };

/** what is sent of a place */
export interface Location {
  latitude?: number;
  longitude?: number;
  accuracy_m?: number;
  location_error?: "denied" | "unavailable" | "timeout";
}

const freshFor = 60_000; // a fix that is older says where the phone was
const patience = 15_000;

/** locationOf gives what may be said of a place at a moment: never an old fix, never a guess. */
export function locationOf(place: Place, now: number): Location {
  switch (place.state) {
    case "seeking":
      return { location_error: "timeout" };
    case "failed":
      return { location_error: place.why };
    case "found":
      if (now - place.at > freshFor) return { location_error: "timeout" };
      return {
        latitude: Number(place.latitude.toFixed(7)),
        longitude: Number(place.longitude.toFixed(7)),
        accuracy_m: Math.round(place.accuracy * 100) / 100,
      };
  }
}

/**
 * ring gives the radius at which an accuracy is drawn, within 100: 5 m is small,
 * 100 m is the usual limit, and from 2 km on it fills the picture.
 */
export function ring(accuracy: number): number {
  const share = Math.log(Math.max(5, accuracy) / 5) / Math.log(2000 / 5);
  return Math.round(12 + 84 * Math.min(1, share));
}

/** watch tells each new place; what it gives ends it. */
export function watch(changed: (place: Place) => void): () => void {
  if (!("geolocation" in navigator) || !isSecureContext) {
    changed({ state: "failed", why: "unavailable" });
    return () => undefined;
  }
  const why = { 1: "denied", 2: "unavailable", 3: "timeout" } as const;
  const id = navigator.geolocation.watchPosition(
    ({ coords, timestamp }) =>
      changed({ state: "found", latitude: coords.latitude, longitude: coords.longitude, accuracy: coords.accuracy, at: Math.min(timestamp, Date.now()) }),
    (error) => changed({ state: "failed", why: why[error.code as 1 | 2 | 3] ?? "unavailable" }),
    { enableHighAccuracy: true, timeout: patience, maximumAge: 0 },
  );
  return () => navigator.geolocation.clearWatch(id);
}
