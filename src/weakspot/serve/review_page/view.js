// The picture on its canvas: zoom, position, tiles of what is seen, heat map. Boxes are in pixels of the picture.

const MOST_TILES = 160;
const CLOSEST = 40;  // pixels of the screen for one of the picture

export class View {
  constructor(stage, canvas, changed) {
    Object.assign(this, { stage, canvas, changed, scale: 1, x: 0, y: 0, size: null, index: null, map: false });
    this.tileSide = 512;
    this.queue = "";  // tells pictures of this queue from those of another in the browser's cache
    this.tiles = new Map();
    this.fitted = true;
    new ResizeObserver(() => { if (this.size && this.fitted) this.fit(); else this.draw(); }).observe(stage);
  }

  show(index, size) {
    this.index = index; this.size = size;
    this.tiles.clear();
    this.heat = null;
    this.preview = image(this.address(index, "preview.jpg"), () => this.draw());
    if (this.map) this.#loadMap();
    this.fit();
    return this.preview.ready;
  }

  address(index, file) { return `/pictures/${index}/${file}?queue=${this.queue}`; }

  get area() { return { width: this.stage.clientWidth, height: this.stage.clientHeight }; }

  get smallest() {
    const { width, height } = this.area;
    return Math.min((width - 24) / this.size.width, (height - 24) / this.size.height, 16);
  }

  fit() { this.scale = Math.max(this.smallest, 1e-6); this.#centre(); this.fitted = true; this.draw(); }

  #centre() {
    const { width, height } = this.area;
    this.x = (width - this.size.width * this.scale) / 2;
    this.y = (height - this.size.height * this.scale) / 2;
  }

  zoom(factor, at) {
    const { width, height } = this.area, [px, py] = at || [width / 2, height / 2];
    const next = Math.min(CLOSEST, Math.max(this.smallest, this.scale * factor));
    this.x = px - (px - this.x) * next / this.scale;
    this.y = py - (py - this.y) * next / this.scale;
    this.scale = next;
    this.fitted = next <= this.smallest;
    if (this.fitted) this.#centre();
    this.pan(0, 0);
  }

  pan(dx, dy) {
    const { width, height } = this.area, w = this.size.width * this.scale, h = this.size.height * this.scale;
    const limit = (value, whole, seen) => whole <= seen ? (seen - whole) / 2 : Math.min(60, Math.max(seen - whole - 60, value));
    this.x = limit(this.x + dx, w, width);
    this.y = limit(this.y + dy, h, height);
    this.draw();
  }

  closeTo(box) {  // all of a box, and its surroundings
    const { width, height } = this.area, w = box.x1 - box.x0, h = box.y1 - box.y0;
    const wanted = Math.min(width / (w * 2.5), height / (h * 2.5));
    this.scale = Math.min(CLOSEST, Math.max(this.smallest, wanted));
    this.fitted = false;
    this.x = width / 2 - (box.x0 + w / 2) * this.scale;
    this.y = height / 2 - (box.y0 + h / 2) * this.scale;
    this.pan(0, 0);
  }

  toPicture([px, py]) { return [(px - this.x) / this.scale, (py - this.y) / this.scale]; }
  toScreen(x, y) { return [x * this.scale + this.x, y * this.scale + this.y]; }

  get seen() {  // the part of the picture that is on the screen
    const { width, height } = this.area, [x0, y0] = this.toPicture([0, 0]), [x1, y1] = this.toPicture([width, height]);
    return { x0: Math.max(0, x0), y0: Math.max(0, y0), x1: Math.min(this.size.width, x1), y1: Math.min(this.size.height, y1) };
  }

  setMap(on) { this.map = on; if (on && !this.heat && this.size) this.#loadMap(); this.draw(); }

  #loadMap() { this.heat = image(this.address(this.index, "map.png"), () => this.draw()); }

  draw() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => { this.asked = 0; this.#paint(); });
  }

  #paint() {
    if (!this.size) return;
    const dense = window.devicePixelRatio || 1, { width, height } = this.area, canvas = this.canvas;
    if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
      canvas.width = Math.round(width * dense); canvas.height = Math.round(height * dense);
    }
    const on = canvas.getContext("2d");
    on.setTransform(dense, 0, 0, dense, 0, 0);
    on.clearRect(0, 0, width, height);
    const w = this.size.width * this.scale, h = this.size.height * this.scale;
    on.imageSmoothingEnabled = this.scale < 3;
    if (this.preview.done) on.drawImage(this.preview.element, this.x, this.y, w, h);
    const small = this.preview.element.naturalWidth / this.size.width || 1;
    if (this.scale * dense > Math.min(small, 1) * 1.05) this.#paintTiles(on, dense);
    if (this.map && this.heat && this.heat.done) {
      on.imageSmoothingEnabled = true;
      on.globalAlpha = 0.8;
      on.drawImage(this.heat.element, this.x, this.y, w, h);
      on.globalAlpha = 1;
    }
    this.changed();
  }

  #paintTiles(on, dense) {
    const level = Math.max(0, Math.floor(Math.log2(1 / (this.scale * dense)))), side = this.tileSide * 2 ** level;
    const { x0, y0, x1, y1 } = this.seen;
    for (let row = Math.floor(y0 / side); row * side < y1; row++)
      for (let column = Math.floor(x0 / side); column * side < x1; column++) {
        const tile = this.#tile(level, column, row);
        if (!tile.done) continue;
        const w = Math.min(side, this.size.width - column * side), h = Math.min(side, this.size.height - row * side);
        const [left, top] = this.toScreen(column * side, row * side);
        on.drawImage(tile.element, left, top, w * this.scale, h * this.scale);
      }
  }

  #tile(level, column, row) {
    const key = `${level}/${column}/${row}`;
    let tile = this.tiles.get(key);
    if (tile) this.tiles.delete(key);  // and back, as the one that was used last
    else tile = image(this.address(this.index, `tiles/${key}.png`), () => this.draw());
    this.tiles.set(key, tile);
    if (this.tiles.size > MOST_TILES) this.tiles.delete(this.tiles.keys().next().value);
    return tile;
  }
}

export function image(source, loaded) {
  const element = new Image(), made = { element, done: false };
  made.ready = new Promise((resolve) => {
    element.onload = () => { made.done = true; resolve(true); loaded(); };
    element.onerror = () => resolve(false);
  });
  element.src = source;
  return made;
}
