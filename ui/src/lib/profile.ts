// Who last used this phone, for the page without a connection. No name and no
// secret: the server decides who somebody is when a tap arrives.

export interface Profile {
  user: number;
  offset: number; // of the site's zone, in minutes
  zone: string;
  ahead: number; // the server's clock less this phone's, in milliseconds
}

const where = "hadir-profile";

export function remember(profile: Profile): void {
  localStorage.setItem(where, JSON.stringify(profile));
}

export function known(): Profile | undefined {
  const text = localStorage.getItem(where);
  return text === null ? undefined : (JSON.parse(text) as Profile);
}

export function forget(): void {
  localStorage.removeItem(where);
}
