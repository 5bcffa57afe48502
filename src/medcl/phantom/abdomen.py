"""A contrast-enhanced CT of the upper abdomen with eight organs.

Frame of the anatomy in mm: x grows to the patient's left, y to the back, z to the head; the origin lies in the middle
of the body at the height of the kidneys' upper half. Intensities are Hounsfield units of the portal venous phase.
"""

from __future__ import annotations

import numpy as np

from medcl.phantom.appearance import bias_field, ct_acquisition
from medcl.phantom.canvas import Canvas, Rng, Wobble, rotation_matrix, smooth_noise

CLASSES = (
    "background", "liver", "spleen", "left kidney", "right kidney", "stomach", "pancreas", "gallbladder", "aorta",
)  # fmt: skip
GROUPS = {"kidneys": (3, 4), "organs": (1, 2, 3, 4, 5, 6, 7, 8)}
LIVER, SPLEEN, LEFT_KIDNEY, RIGHT_KIDNEY, STOMACH, PANCREAS, GALLBLADDER, AORTA = range(1, 9)

FIELD_OF_VIEW_MM = 390.0
STACK_MM = 180.0
AIR, FAT, MUSCLE, MARROW, CORTEX = -1000.0, -105.0, 55.0, 190.0, 650.0
OUTSIDE = np.float32(50.0)


def abdomen_volume(
    rng: Rng,
    size: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] | None = None,
    *,
    rotation: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make one abdominal CT with its dense label.

    Args:
        rng: Source of randomness.
        size: Voxels per axis, (z, y, x). With z = 1 the slice lies anywhere between kidneys and spleen.
        spacing_mm: Spacing (z, y, x); default: 180 mm along z, a field of view of 390 mm.
        rotation: (3, 3) direction of the grid in the anatomy's frame, on (x, y, z); default: drawn.

    Returns:
        image: (Z, Y, X) float32 in Hounsfield units.
        label: (Z, Y, X) int16 of 0 background, 1 liver, 2 spleen, 3 left kidney, 4 right kidney, 5 stomach,
            6 pancreas, 7 gallbladder, 8 aorta.
    """
    spacing_mm = spacing_mm or (STACK_MM / max(size[0], 8), FIELD_OF_VIEW_MM / size[1], FIELD_OF_VIEW_MM / size[2])
    if rotation is None:
        rotation = rotation_matrix((rng.normal(0, 3), rng.normal(0, 2), rng.normal(0, 2)))
    centre_z = rng.uniform(-20, 45) if size[0] == 1 else rng.normal(10, 6)
    canvas = Canvas(size, spacing_mm, rotation, None, (float(centre_z), *rng.normal(0, 6, 2)), background=AIR)
    _Abdomen(rng, canvas).paint()
    field = bias_field(rng, canvas, 0.012)
    image = (canvas.image - AIR) * field + AIR  # beam hardening: the scale drifts a little
    return ct_acquisition(rng, image, noise=float(rng.uniform(10, 24))), canvas.label


class _Abdomen:
    """Paints one person; sizes and places vary around those of an adult."""

    def __init__(self, rng: Rng, canvas: Canvas) -> None:
        self.rng = rng
        self.canvas = canvas
        self.build = float(rng.uniform(0.92, 1.06))
        self.hu = {
            name: value + float(rng.normal(0, 8))
            for name, value in {
                "liver": 108, "spleen": 122, "cortex": 185, "medulla": 130, "stomach": 30, "wall": 80,
                "pancreas": 92, "bile": 8, "blood": 155, "bowel": 55,
            }.items()
        }  # fmt: skip

    def paint(self) -> None:
        self._trunk()
        self._bowel()
        self._pancreas()
        self._stomach()
        self._liver()
        self._spleen()
        for side, cls in ((1, LEFT_KIDNEY), (-1, RIGHT_KIDNEY)):
            self._kidney(side, cls)
        self._vessels()

    def place(self, z: float, y: float, x: float, spread: float = 4.0) -> tuple[float, float, float]:
        """A typical place (z, y, x) in mm for this person's build, shifted at random."""
        dz, dy, dx = (float(v) for v in self.rng.normal(0, spread, 3))
        return z * self.build + dz, y * self.build + dy, x * self.build + dx

    def ball(
        self,
        place: tuple[float, float, float],
        radii: tuple[float, float, float],
        angle: float = 0.0,
        rough: float = 0.05,
    ) -> np.ndarray:
        """Distance to an irregular ellipsoid with typical half axes (z, y, x) in mm."""
        z, y, x = (float(r * self.build * self.rng.uniform(0.88, 1.12)) for r in radii)
        turn = angle + float(self.rng.normal(0, 0.1))
        return self.canvas.ball(place, (z, y, x), turn, Wobble.draw(self.rng, rough))

    def _trunk(self) -> None:
        rng, canvas = self.rng, self.canvas
        body = canvas.blob((0.0, 0.0), (118 * self.build, 166 * self.build), 0.0, Wobble.draw(rng, 0.02, (2, 3, 4)))
        fat = float(rng.uniform(8, 26)) * (1 + 0.3 * np.cos(np.arctan2(canvas.y, canvas.x) - np.pi / 2))
        wall = 10.0
        self.cavity = body + fat + wall
        canvas.paint(body, 20.0)
        canvas.paint(body + 2, FAT)
        canvas.paint(body + fat, MUSCLE)
        canvas.paint(self.cavity, FAT)
        self._spine(body)
        # Ribs run obliquely: they wander around the trunk with height.
        turn = np.arctan2(canvas.y, canvas.x) + 0.012 * canvas.z
        across = (np.mod(turn, 2 * np.pi / 15) - np.pi / 15) * np.float32(130)
        rib = np.sqrt((across / 2.2) ** 2 + (self.cavity - 4) ** 2) - 4.5
        rib = np.where(canvas.z > -45 + 0.4 * canvas.y, rib, OUTSIDE)
        canvas.paint(rib, CORTEX * 0.7)
        canvas.paint(rib + 2.2, MARROW)
        # Lung bases on both sides of the mediastinum, under the domes of the diaphragm.
        for side in (-1, 1):
            dome = 82 - ((canvas.x - side * 75) ** 2 + canvas.y**2) / 250
            canvas.paint(np.maximum(np.maximum(self.cavity + 1, dome - canvas.z), 18 - side * canvas.x), -850.0)
        canvas.paint(np.maximum(self.ball(self.place(115, -45, 22), (42, 40, 52)), self.cavity + 4), 120.0)  # heart

    def _spine(self, body: np.ndarray) -> None:
        rng, canvas = self.rng, self.canvas
        for side in (-1, 1):
            muscle = canvas.blob((80.0, side * 38.0), (22.0, 32.0), side * 0.2, Wobble.draw(rng, 0.05))
            canvas.paint(np.maximum(muscle, body + 12), MUSCLE)
            reach = np.clip(20 - 0.10 * canvas.z, 4, 26)
            canvas.paint(canvas.blob((52.0, side * 36.0), (reach, 0.75 * reach), side * 0.5), MUSCLE + 5)
        disc = 0.5 + 0.5 * np.cos(2 * np.pi * (canvas.z + float(rng.uniform(0, 35))) / 35.0)
        vertebra = canvas.blob((52.0, 0.0), (18.0, 23.0), 0.0, Wobble.draw(rng, 0.03))
        canvas.paint(vertebra, CORTEX * (1 - 0.5 * disc))
        canvas.paint(vertebra + 2.5, MARROW - 90 * (disc > 0.8))
        arch = canvas.blob((83.0, 0.0), (15.0, 17.0))
        canvas.paint(arch, CORTEX * 0.6)
        canvas.paint(canvas.blob((78.0, 0.0), (8.0, 10.0)), 30.0)
        spinous = canvas.blob((100.0, 0.0), (12.0, 3.5))
        canvas.paint(spinous, CORTEX * 0.7)

    def _bowel(self) -> None:
        """Loops of bowel in the front and below, some with gas; colon on both flanks."""
        rng, canvas = self.rng, self.canvas
        sigma = (9.0 / 7.5, 11.0 / canvas.edge_mm, 11.0 / canvas.edge_mm)
        loops = smooth_noise(rng, canvas.size, sigma)
        region = np.maximum(np.maximum(self.cavity + 6, canvas.y - 18), canvas.z - 25)
        tube = np.maximum((np.abs(loops) - 0.55) * 14, region)
        canvas.paint(tube, self.hu["bowel"] + 30)
        canvas.paint(tube + 3, self.hu["bowel"] - 15 * np.sign(loops))
        for side in (-1, 1):
            wave = 6 * np.sin(canvas.z / 13.0 + float(rng.uniform(0, 6)))
            colon = canvas.blob((18.0 + 0.2 * wave, side * 118.0 * self.build), (19 + 0.5 * wave, 17 + 0.4 * wave))
            colon = np.maximum(np.maximum(colon, self.cavity + 3), canvas.z - (15 if side < 0 else 35))
            canvas.paint(colon, self.hu["wall"])
            canvas.paint(colon + 3, 35 + 45 * loops)
            canvas.paint(np.maximum(colon + 4, canvas.y - 14), -850.0)

    def _pancreas(self) -> None:
        """A lobulated tube that bends from the duodenum across the aorta towards the spleen."""
        rng, canvas = self.rng, self.canvas
        along = np.linspace(0, 1, 14)
        shift = rng.normal(0, 4, 3)
        x = (-38 + 125 * along) * self.build + shift[0]
        y = -4 - 26 * np.sin(np.pi * np.clip(along * 1.15, 0, 1)) + 30 * along**2 + shift[1]
        z = -22 + 48 * along**0.8 + shift[2] * 0.7
        radius = (15 - 7 * along + 2 * np.cos(9 * along)) * self.build
        tube: np.ndarray = np.full(canvas.size, OUTSIDE)
        for px, py, pz, r in zip(x, y, z, radius, strict=True):
            step = np.sqrt((canvas.x - px) ** 2 + (canvas.y - py) ** 2 + ((canvas.z - pz) / 1.1) ** 2) - r
            np.minimum(tube, step.astype(np.float32), out=tube)
        lobules = smooth_noise(rng, canvas.size, (0.5, 4.0 / canvas.edge_mm, 4.0 / canvas.edge_mm))
        tube = tube + 1.6 * lobules
        canvas.paint(np.maximum(tube, self.cavity + 8), self.hu["pancreas"] + 6 * lobules, PANCREAS)

    def _stomach(self) -> None:
        rng, canvas = self.rng, self.canvas
        fundus = self.ball(self.place(55, -10, 72), (42, 38, 40), 0.3, 0.07)
        body = self.ball(self.place(22, -52, 48), (40, 26, 46), -0.3, 0.08)
        stomach = np.maximum(np.minimum(fundus, body), self.cavity + 5)
        canvas.paint(stomach, self.hu["wall"], STOMACH)
        food = smooth_noise(rng, canvas.size, (0.6, 3.0, 3.0))
        canvas.paint(stomach + 4, self.hu["stomach"] + 14 * food)
        # The patient lies on the back: gas collects in front, with a level surface.
        level = float(rng.uniform(-62, -30))
        canvas.paint(np.maximum(stomach + 4, canvas.y - level), -900.0)

    def _liver(self) -> None:
        rng, canvas = self.rng, self.canvas
        right = self.ball(self.place(34, 0, -82), (72, 78, 68), 0.1, 0.05)
        left = self.ball(self.place(52, -52, -12), (40, 30, 62), 0.15, 0.07)
        liver = np.maximum(np.minimum(right, left), self.cavity + 2)
        canvas.paint(liver, self.hu["liver"], LIVER)
        tree = smooth_noise(rng, canvas.size, (0.8, 7.0 / canvas.edge_mm, 7.0 / canvas.edge_mm))
        branch = np.maximum((np.abs(tree - 0.9) - 0.10) * 12, liver + 7)
        canvas.paint(branch, self.hu["liver"] + 42, opacity=0.85)
        gallbladder = self.ball(self.place(2, -44, -58, 3.0), (27, 15, 14), 0.4, 0.04)
        gallbladder = np.maximum(gallbladder, self.cavity + 4)
        canvas.paint(gallbladder - 1.5, self.hu["wall"] + 20)
        self._clear(gallbladder - 1.5)
        canvas.paint(gallbladder, self.hu["bile"], GALLBLADDER)

    def _spleen(self) -> None:
        canvas = self.canvas
        spleen = self.ball(self.place(48, 34, 114), (50, 46, 25), -0.45, 0.06)
        notch = self.ball(self.place(45, 28, 84), (60, 40, 20), -0.45, 0.06)
        spleen = np.maximum(np.maximum(spleen, -notch), self.cavity + 2)
        canvas.paint(spleen, self.hu["spleen"], SPLEEN)

    def _kidney(self, side: int, cls: int) -> None:
        rng, canvas = self.rng, self.canvas
        place = self.place(-14 if side > 0 else -24, 44, side * 68)
        # Perirenal fat keeps neighbours at a distance.
        kidney = self.ball(place, (52, 30, 25), side * 0.45, 0.04)
        canvas.paint(np.maximum(kidney - 6, self.cavity + 2), FAT)
        self._clear(np.maximum(kidney - 6, self.cavity + 2))
        hilum = self.ball((place[0], place[1] - 6, place[2] - side * 24), (22, 9, 17), 0.0, 0.1)
        organ = np.maximum(np.maximum(kidney, -hilum), self.cavity + 3)
        canvas.paint(organ, self.hu["cortex"], cls)
        pyramids = smooth_noise(rng, canvas.size, (0.7, 3.5 / canvas.edge_mm, 3.5 / canvas.edge_mm))
        canvas.paint(np.maximum(kidney + 7 + 3 * pyramids, organ + 1.5), self.hu["medulla"])
        vein = canvas.blob((place[1] - 14, side * 34.0), (5.0, 30.0), -side * 0.4)
        vein = np.maximum(vein, np.abs(canvas.z - place[0]) - 7)
        canvas.paint(np.maximum(vein, 10 - side * canvas.x), self.hu["blood"])
        self._clear(np.maximum(vein, organ * -1))

    def _vessels(self) -> None:
        rng, canvas = self.rng, self.canvas
        bend = 3 * np.sin(canvas.z / 45 + float(rng.uniform(0, 6)))
        radius = float(rng.uniform(9.5, 12.5)) + 0.012 * canvas.z
        aorta = canvas.blob((22.0 + 0.3 * bend, 9.0 + bend), (radius, radius), 0.0, Wobble.draw(rng, 0.02))
        canvas.paint(aorta - 3, FAT)
        self._clear(aorta - 3)
        canvas.paint(aorta, self.hu["blood"] + 20, AORTA)
        if rng.random() < 0.5:  # calcified plaque, part of the vessel
            spot = np.cos(np.arctan2(canvas.y - 22, canvas.x - 9) + float(rng.uniform(0, 6)) + canvas.z / 40)
            canvas.paint(np.where(spot > 0.85, np.abs(aorta + 1) - 1.2, OUTSIDE), 480.0, opacity=0.8)
        cava = canvas.blob((18.0, -24.0 - 0.5 * bend), (10.0, 13.0), 0.2, Wobble.draw(rng, 0.06))
        canvas.paint(cava, self.hu["blood"] - 12)
        self._clear(cava)

    def _clear(self, distance: np.ndarray) -> None:
        """Take the class away where something unnamed was painted over an organ."""
        self.canvas.label[distance < 0] = 0
